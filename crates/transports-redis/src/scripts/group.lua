-- What the scripts of a group begin with after the prelude. The group's own keys:
-- H, what is known of each entry that is not done: `<epoch> <attempts> <state> <lane>`, where the state is `b` (read
--   ahead, not yet yielded), `l` (yielded), `f` (yielded, but that does not count), `n` (waits, its tokens are worth nothing), `p` (waits for its lane). Also
--   `k<lane>`, who has the lane, and figures under names that are no ids;
-- T, the leases by their end; D, the delayed by their due time; R, what is ready, by padded id; W, who waits for a lane, as
--   `<lane>` and padded id.
-- Invariant: an entry of H is in exactly one of T, D, R and W.
-- A message without a key that was read for the first time has no entry as long as nothing but that is to be said of it: it is
-- pending with a node as its consumer, and its epoch is what `born` was in H when it was read. Who is done with it finds it
-- pending or not; all else makes it an entry first. `apart` in H counts whenever that happens, and acks by others than who has
-- it: as long as it is what it was when messages were read, those are pending until the node that has them acks them.
local H, T, D, R, W = KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]

local function read_state(text)
  if not text then return nil end
  local epoch, attempts, state, lane = string.match(text, '^(%S+) (%d+) (%a) (%S*)$')
  if not epoch then return nil end
  return { epoch = epoch, attempts = tonumber(attempts), state = state, lane = lane }
end

local function write_state(s)
  return s.epoch .. ' ' .. string.format('%d', s.attempts) .. ' ' .. s.state .. ' ' .. s.lane
end

-- Whether a node has read it; else another client has.
local function is_ours(pending)
  return string.sub(pending[2], 1, 8) == 'busgate-'
end

-- A page of what is pending and was idle for so long, from `from` on, and what is known of each.
local function pending_page(group, idle, from, count)
  local page, ids = call('XPENDING', S, group, 'IDLE', idle, from, '+', count), {}
  for n = 1, #page do ids[n] = page[n][1] end
  return page, #ids > 0 and call('HMGET', H, unpack(ids)) or {}
end

-- What is known of an entry, or, of one that has none and was read under this epoch, what there is to know.
local function entry_of(group, id, epoch, born)
  local s = read_state(call('HGET', H, id))
  if not s and epoch == born and #call('XPENDING', S, group, id, id, 1) == 1 then
    s = { epoch = born, attempts = 0, state = 'b', lane = '', plain = true }
  end
  return s
end

-- Messages that were handed out without an entry are not only their holder's any more. Answers the count.
local function set_apart()
  return tostring(call('HINCRBY', H, 'apart', 1))
end

-- Makes entries of all that nodes have read and not spoken of since: theirs until `till`.
local function enter_pending(group, born, till)
  local from = '-'
  set_apart()
  while from do
    local page, known = pending_page(group, 0, from, 200)
    for n, pending in ipairs(page) do
      if not known[n] and is_ours(pending) then
        call('HSET', H, pending[1], born .. ' 0 b ')
        call('ZADD', T, till, pending[1])
      end
    end
    from = #page == 200 and '(' .. page[200][1]
  end
end

local function lane_of(fields)
  local key = field(fields, 'key')
  return key and redis.sha1hex(key) or ''
end

-- The entry is done: its lane goes on with the next that waits. Answers whether one was set free.
local function leave_lane(id, lane)
  if lane == '' or call('HGET', H, 'k' .. lane) ~= id then return false end
  local next = call('ZRANGEBYLEX', W, '[' .. lane, '[' .. lane .. '~', 'LIMIT', 0, 1)[1]
  if not next then
    call('HDEL', H, 'k' .. lane)
    return false
  end
  call('ZREM', W, next)
  local padded = string.sub(next, #lane + 1)
  local free = unpad(padded)
  call('HSET', H, 'k' .. lane, free, free, '0 0 n ' .. lane)
  call('ZADD', R, 0, padded)
  return true
end

-- Brings back what is due; answers how many.
local function promote(now)
  local count = 0
  for _, timed in ipairs({ T, D }) do
    local due = call('ZRANGEBYSCORE', timed, '-inf', now, 'LIMIT', 0, 512)
    if #due > 0 then
      local ready = {}
      for i, id in ipairs(due) do
        ready[2 * i - 1], ready[2 * i] = 0, pad(id)
      end
      call('ZREM', timed, unpack(due))
      call('ZADD', R, unpack(ready))
      count = count + #due
    end
  end
  return count
end
