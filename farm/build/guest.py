"""The Python that handlers run on, inside a component: its version, and which modules of the standard library it has.

Found by importing each of them in a component made by the pinned componentize-py.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "3.14"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STANDARD: Final = _words(
    """
    __future__ abc annotationlib argparse array ast asyncio atexit base64 bdb binascii bisect builtins
    cProfile calendar cmath cmd code codecs codeop collections colorsys compileall compression concurrent
    configparser contextlib contextvars copy copyreg csv dataclasses datetime dbm decimal difflib dis doctest
    email encodings enum errno faulthandler filecmp fileinput fnmatch fractions ftplib functools gc
    genericpath getopt getpass gettext glob graphlib gzip hashlib heapq hmac html http imaplib importlib
    inspect io ipaddress itertools json keyword linecache locale logging mailbox marshal math mimetypes
    modulefinder multiprocessing netrc ntpath nturl2path numbers opcode operator optparse os pathlib pdb
    pickle pickletools pkgutil platform plistlib poplib posix posixpath pprint profile pstats py_compile
    pyclbr pydoc pyexpat queue quopri random re reprlib rlcompleter runpy sched secrets select selectors
    shelve shlex shutil signal site smtplib socket socketserver sqlite3 sre_compile sre_constants sre_parse
    stat statistics string stringprep struct subprocess symtable sys sysconfig tabnanny tarfile tempfile
    textwrap this threading time timeit token tokenize tomllib trace traceback tracemalloc types typing
    unicodedata unittest urllib uuid venv warnings wave weakref webbrowser wsgiref xml xmlrpc zipapp zipfile
    zipimport zlib zoneinfo
    """
)

# In the standard library of an ordinary Python of that version, but not in a component.
ABSENT: Final = _words(
    """
    bz2 ctypes curses ensurepip fcntl grp idlelib lzma mmap msvcrt nt pty pwd readline resource ssl syslog
    termios tkinter tty turtle turtledemo winreg winsound
    """
)

# Left the standard library before that version; an older Python on this machine still has them.
REMOVED: Final = _words(
    """
    aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils imghdr imp lib2to3 mailcap msilib nis
    nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib
    """
)

# Modules that the build itself brings: a file of that name beside the handler is never imported.
RESERVED: Final = _words(
    """
    componentize_py_async_support componentize_py_runtime componentize_py_types farm farm_entry poll_loop
    wit_world
    """
)
