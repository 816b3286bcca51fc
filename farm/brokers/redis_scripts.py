"""What Redis does in one step: scripts, loaded at each connect and called by their digest.

    RUN      publish, and settle what the messages were made from       `redis-streams`
    SPREAD   copy what other programs put into a stream of a topic's own name to the streams of its triggers
    CAST     publish to channels, and to the streams of queues          `redis`
    ENSURE   make the stream and the group of a trigger, and let publishers know
    TAKE     claim entries, if they still belong to whom they belonged  (as KEEP and FREE: a bare XCLAIM would steal)
    KEEP     extend the lease of entries that are still ours
    FREE     give entries back, so that anybody may have them at once
    DONE     acknowledge and delete
The first key of each is there for a cluster to find the server; the other keys have the same `{topic}`. What a script
writes is replicated as it was done (the default since Redis 7; `replicate_commands` asks an older server for it).
"""

from __future__ import annotations

import hashlib
from typing import Final

GROUP: Final = "farm"  # in every stream; a stream has one (topic, group), so no group has more to say
RELEASED: Final = "farm-released"  # the consumer that owns what was given back, before Redis 8.8
IDLE_MS: Final = 86_400_000  # how long ago it was given back, so that no wait keeps it from being claimed
COPY_FIELD: Final = "farm-copy"  # marks what was put into a topic's own stream for others to read

_EFFECTS: Final = "if redis.replicate_commands then redis.replicate_commands() end\n"

# What an error reply says, with the key that is to blame, and what was to be done with it if that is not allowed.
FAULT_OF: Final = """
local function fault_of(said, command, key)
  if type(said) ~= 'table' or not said.err then return nil end
  local text = said.err
  if string.sub(text, 1, 9) == 'WRONGTYPE' then return text .. ': ' .. key end
  for _, refusal in ipairs({'NOPERM', 'The user executing', 'ACL failure'}) do  -- to 7.0: the second; since: the third
    if string.find(text, refusal, 1, true) then return text .. ' (' .. command .. ' ' .. key .. ')' end
  end
  return text
end
"""

# How an entry gets to where its subject's readers are.
_PLACES: Final = """
local places, mute = {}, false  -- mute: listeners could not be told
local function place(subject)
  local found = places[subject]
  if found then return found end
  local tag = 'farm:{' .. subject .. '}:'
  local kind, names = redis.pcall('TYPE', subject), redis.pcall('SMEMBERS', tag .. 'streams')
  found = {own = subject, live = tag .. 'live', type = kind.ok or 'none'}
  found.fault = fault_of(kind, 'TYPE', subject) or fault_of(names, 'SMEMBERS', tag .. 'streams')
  for index, name in ipairs(names) do found[index] = tag .. 'stream:' .. name end
  local counted = always and {} or redis.pcall('PUBSUB', 'NUMSUB', found.live)
  found.heard = counted[2] ~= 0
  if found.type == 'stream' then
    local groups = redis.pcall('XINFO', 'GROUPS', subject)
    found.unknown = fault_of(groups, 'XINFO', subject)
    for _, group in ipairs(groups) do
      for index = 1, #group, 2 do
        if group[index] == 'name' and group[index + 1] ~= 'farm' then found.others = true end
      end
    end
  end
  places[subject] = found
  return found
end
local function cast(found, words, from, to)
  local parts = {'*' .. (to - from + 1)}
  for index = from, to do parts[#parts + 1] = '$' .. #words[index] .. '\\r\\n' .. words[index] end
  local said = redis.pcall('PUBLISH', found.live, table.concat(parts, '\\r\\n') .. '\\r\\n')
  mute = mute or type(said) == 'table'
end
"""

# ARGV: 1 where listeners cannot be counted, 1 where there is IDMP; then of each stream (or nothing): its key, the one
# who must not have lost an entry (or nothing: it cannot have), how many entries; of each: its id, how many outputs; of
# each output: subject, what to know it by (or nothing), how many words (below 0: somebody must keep it), words.
# Returns for each entry: 1 done; 2 done, but listeners could not be told; 3 done, but it could not be settled;
# 0 another consumer has it, nothing was done; else an error.
RUN: Final = (
    _EFFECTS
    + "local always = ARGV[1] == '1'\n"
    + FAULT_OF
    + _PLACES
    + """
local argv, pcall, unpack, tonumber, type, abs = ARGV, redis.pcall, unpack, tonumber, type, math.abs
local idmp, at, last, answers = argv[2] == '1', 3, #ARGV, {}
local function add(key, dedup, from, to)
  local said
  if idmp and dedup ~= '' then
    said = pcall('XADD', key, 'IDMP', 'farm', dedup, '*', unpack(argv, from, to))
  else
    said = pcall('XADD', key, '*', unpack(argv, from, to))
  end
  return fault_of(said, 'XADD', key)
end
local function emit(found, dedup, from, to, needed)
  if found.unknown then return found.unknown end
  local fault, kept
  for index = 1, #found do
    local said = add(found[index], dedup, from, to)
    fault, kept = fault or said, kept or not said
  end
  if #found == 0 then
    if found.fault then
      fault = found.fault
    elseif found.type == 'stream' then
      fault = add(found.own, dedup, from, to)
    elseif found.type ~= 'none' then
      fault = 'WRONGTYPE a ' .. found.type .. ' has this key'
    elseif needed then
      fault = 'NOGROUP nobody keeps this subject'
    end
    kept = not fault
  elseif found.others and kept then
    local said = pcall('XADD', found.own, '*', 'farm-copy', '1', unpack(argv, from, to))
    fault = fault or fault_of(said, 'XADD', found.own)
  end
  if found.heard and kept then cast(found, argv, from, to) end
  return fault
end
local function is_lost(stream, entry, consumer)
  local pending = pcall('XPENDING', stream, 'farm', entry, entry, 1)
  return not pending.err and pending[1] and pending[1][2] ~= consumer
end
while at <= last do
  local stream, consumer, count, done, first = argv[at], argv[at + 1], tonumber(argv[at + 2]), {}, #answers + 1
  at = at + 3
  for _ = 1, count do
    local entry, outputs, answer = argv[at], tonumber(argv[at + 1]), 1
    at = at + 2
    if consumer ~= '' and is_lost(stream, entry, consumer) then answer = 0 end
    for _ = 1, outputs do
      local subject, count = argv[at], tonumber(argv[at + 2])
      local to = at + 2 + abs(count)
      if answer == 1 then answer = emit(places[subject] or place(subject), argv[at + 1], at + 3, to, count < 0) or 1 end
      at = to + 1
    end
    if answer == 1 then done[#done + 1] = entry end
    answers[#answers + 1] = mute and answer == 1 and 2 or answer
  end
  if stream ~= '' and #done > 0 then
    local said = pcall('XACK', stream, 'farm', unpack(done))
    if type(said) ~= 'table' then said = pcall('XDEL', stream, unpack(done)) end
    if type(said) == 'table' then
      for index = first, #answers do
        if answers[index] == 1 or answers[index] == 2 then answers[index] = 3 end
      end
    end
  end
end
return answers
"""
)

# KEYS: the topic. ARGV: 1 where listeners cannot be counted; how many at most.
# Returns how many there were, and after which entry the next will be. Nothing is deleted where others have a group. The
# empty stream stays: made anew it would give out ids that it has given out before. An entry that one stream cannot have
# is taken back from the others, and waits: copied again and again it would come to them each time.
SPREAD: Final = (
    _EFFECTS
    + "local always = ARGV[1] == '1'\n"
    + FAULT_OF
    + _PLACES
    + """
local topic = KEYS[1]
local found = place(topic)
if found.fault then return redis.error_reply(found.fault) end
if found.type == 'none' then return {0, '0'} end
if found.type ~= 'stream' then return redis.error_reply('WRONGTYPE a ' .. found.type .. ' has this key') end
if #found == 0 then return redis.error_reply('NOGROUP nobody has subscribed') end
local cursor
for _, group in ipairs(redis.call('XINFO', 'GROUPS', topic)) do
  local fields = {}
  for index = 1, #group, 2 do fields[group[index]] = group[index + 1] end
  if fields.name == 'farm' then cursor = fields['last-delivered-id'] end
end
if found.others and not cursor then
  redis.call('XGROUP', 'CREATE', topic, 'farm', '0')
  cursor = '0-0'
end
local entries = redis.call('XRANGE', topic, cursor and '(' .. cursor or '-', '+', 'COUNT', ARGV[2])
for _, entry in ipairs(entries) do
  local id, words, copy, named = entry[1], entry[2], false, false
  for index = #words, 2001, -1 do words[index] = nil end  -- more than any message has, and than Lua passes on
  for index = 1, #words, 2 do
    copy = copy or words[index] == 'farm-copy'
    named = named or words[index] == 'farm-id'
  end
  if not copy then
    if not named then
      words[#words + 1] = 'farm-id'
      words[#words + 1] = topic .. ':' .. id
    end
  end
  local added, fault = {}, nil
  for _, key in ipairs(copy and {} or found) do
    local said = redis.pcall('XADD', key, '*', unpack(words))
    fault = fault or fault_of(said, 'XADD', key)
    if type(said) ~= 'table' then added[key] = said end
  end
  if cursor and not fault then
    fault = fault_of(redis.pcall('XGROUP', 'SETID', topic, 'farm', id), 'XGROUP', topic)
  end
  if not fault and not found.others then fault = fault_of(redis.pcall('XDEL', topic, id), 'XDEL', topic) end
  if fault then
    for key, copied in pairs(added) do redis.call('XDEL', key, copied) end
    return redis.error_reply(fault)
  end
  if found.heard and not copy then cast(found, words, 1, #words) end
  cursor = cursor and id
end
return {#entries, cursor or '0'}
"""
)

# ARGV of each: subject, payload, how many words (below 0: a queue must keep it), words.
# Returns for each: how many subscribers got it; else an error.
CAST: Final = (
    _EFFECTS
    + FAULT_OF
    + """
local queues, answers, at = {}, {}, 1
while at <= #ARGV do
  local subject, payload, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local words, tag = math.abs(count), 'farm:{' .. subject .. '}:'
  queues[subject] = queues[subject] or redis.pcall('SMEMBERS', tag .. 'queues')
  local answer = fault_of(queues[subject], 'SMEMBERS', tag .. 'queues')
  if not answer and count < 0 and #queues[subject] == 0 then answer = 'NOGROUP nobody keeps this subject' end
  if not answer then
    local said = redis.pcall('PUBLISH', subject, payload)
    answer = fault_of(said, 'PUBLISH', subject) or said
    for _, name in ipairs(queues[subject]) do
      said = redis.pcall('XADD', tag .. 'queue:' .. name, '*', unpack(ARGV, at + 3, at + 2 + words))
      answer = fault_of(said, 'XADD', tag .. 'queue:' .. name) or answer
    end
  end
  answers[#answers + 1] = answer
  at = at + 3 + words
end
return answers
"""
)

# KEYS: stream, the set of those there are. ARGV: its name there.
# Returns 1: the group was not there. It begins with all that the stream has, for what was handled is deleted.
# What could not be settled later is not begun: the rights to do so are looked at here. Where all is there nothing is
# written that a server without memory would refuse: what it has could not be handled, and deleted.
ENSURE: Final = (
    _EFFECTS
    + FAULT_OF
    + """
local function has(found, wanted)  -- what an error reply has is nothing
  for _, each in ipairs(found) do
    if each == wanted or type(each) == 'table' and each[1] == 'name' and each[2] == wanted then return true end
  end
end
local made = 0
if not has(redis.pcall('XINFO', 'GROUPS', KEYS[1]), 'farm') then
  local said = redis.pcall('XGROUP', 'CREATE', KEYS[1], 'farm', '0', 'MKSTREAM')
  if said.err and string.sub(said.err, 1, 9) ~= 'BUSYGROUP' then return said end
  made = said.err and 0 or 1
end
for command, words in pairs({XACK = {KEYS[1], 'farm', '0-1'}, XDEL = {KEYS[1], '0-1'}}) do
  local fault = fault_of(redis.pcall(command, unpack(words)), command, KEYS[1])
  if fault then return redis.error_reply(fault) end
end
if not has(redis.pcall('SMEMBERS', KEYS[2]), ARGV[1]) then redis.call('SADD', KEYS[2], ARGV[1]) end
return made
"""
)

# KEYS: stream. ARGV: consumer, how long (ms) what is another's must be idle; then of each: entry, owner.
# Returns of each that is ours now: entry, words, how often it was delivered; and how many there were no more.
TAKE: Final = (
    _EFFECTS
    + """
local key, me, idle, got, gone = KEYS[1], ARGV[1], tonumber(ARGV[2]), {}, 0
for at = 3, #ARGV, 2 do
  local id, owner = ARGV[at], ARGV[at + 1]
  local pending = redis.call('XPENDING', key, 'farm', id, id, 1)[1]
  local same = pending and (pending[2] or '') == owner
  if same and (owner == me or pending[3] >= idle or pending[3] < 0) then
    local entry = redis.call('XCLAIM', key, 'farm', me, 0, id)[1]
    if entry and entry[2] then
      got[#got + 1] = {id, entry[2], pending[4] + 1}
    else
      redis.call('XACK', key, 'farm', id)
      gone = gone + 1
    end
  end
end
return {got, gone}
"""
)

# KEYS: stream. ARGV: consumer; entries. Returns those that are another's, and those that are no more.
# What is nobody's and was not deleted was never settled: somebody has deleted the consumer, or the group.
KEEP: Final = (
    _EFFECTS
    + """
local key, me, lost, gone = KEYS[1], ARGV[1], {}, {}
for at = 2, #ARGV do
  local id = ARGV[at]
  local pending = redis.call('XPENDING', key, 'farm', id, id, 1)[1]
  if pending and pending[2] == me then
    redis.call('XCLAIM', key, 'farm', me, 0, id, 'JUSTID')
  elseif pending then
    lost[#lost + 1] = id
  elseif #redis.call('XRANGE', key, id, id) > 0 then
    redis.call('XCLAIM', key, 'farm', me, 0, id, 'FORCE', 'JUSTID')
  else
    gone[#gone + 1] = id
  end
end
return {lost, gone}
"""
)

# KEYS: stream. ARGV: consumer; 1 where there is XNACK; entries. Returns how many were ours to give back.
FREE: Final = (
    _EFFECTS
    + f"""
local given = 0
for at = 3, #ARGV do
  local id = ARGV[at]
  local pending = redis.call('XPENDING', KEYS[1], 'farm', id, id, 1)[1]
  if pending and pending[2] == ARGV[1] then
    if ARGV[2] == '1' then
      redis.call('XNACK', KEYS[1], 'farm', 'FAIL', 'IDS', 1, id)
    else
      redis.call('XCLAIM', KEYS[1], 'farm', '{RELEASED}', 0, id, 'IDLE', {IDLE_MS}, 'JUSTID')
    end
    given = given + 1
  end
end
return given
"""
)

# KEYS: stream. ARGV: entries. Returns how many were pending.
DONE: Final = (
    _EFFECTS
    + """
local acked = redis.call('XACK', KEYS[1], 'farm', unpack(ARGV))
redis.call('XDEL', KEYS[1], unpack(ARGV))
return acked
"""
)

SCRIPTS: Final = (RUN, SPREAD, CAST, ENSURE, TAKE, KEEP, FREE, DONE)


def digest(script: str) -> str:
    """What EVALSHA calls a script."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


RUN_DIGEST: Final = digest(RUN)
SPREAD_DIGEST: Final = digest(SPREAD)
CAST_DIGEST: Final = digest(CAST)
ENSURE_DIGEST: Final = digest(ENSURE)
TAKE_DIGEST: Final = digest(TAKE)
KEEP_DIGEST: Final = digest(KEEP)
FREE_DIGEST: Final = digest(FREE)
DONE_DIGEST: Final = digest(DONE)
