-- What the scripts of a group begin with after the prelude. The group's own keys:
-- H, what is known of each entry that is not done: `<epoch> <attempts> <state> <lane>`, where the state is `b` (read
--   ahead, not yet yielded), `l` (yielded), `f` (yielded, but that does not count), `n` (waits, its tokens are worth nothing), `p` (waits for its lane). Also
--   `k<lane>`, who has the lane, runs, and figures under names that are no ids;
-- T, the leases by their end; D, the delayed by their due time; R, what is ready, by padded id; W, who waits for a lane, as
--   `<lane>` and padded id; G, the runs by the end of their lease.
-- Invariant: an entry of H is pending, and in exactly one of T, D, R and W.
-- Messages without a key that were read for the first time, in one turn, are a run as long as nothing but that is to be said of
-- them. They are not pending: H has their ids under `i<epoch>`, and under `d<epoch>` a bit for each that is not in the run any
-- more, because it is done or has become an entry. A run ends with the last of them.
local H, T, D, R, W, G = KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]

local function read_state(text)
  if not text then return nil end
  local epoch, attempts, state, lane = string.match(text, '^(%S+) (%d+) (%a) (%S*)$')
  if not epoch then return nil end
  return { epoch = epoch, attempts = tonumber(attempts), state = state, lane = lane }
end

local function write_state(s)
  return s.epoch .. ' ' .. string.format('%d', s.attempts) .. ' ' .. s.state .. ' ' .. s.lane
end

-- What scripts know of runs by now, and what has become an entry and is not pending yet.
local runs, entered = {}, {}

-- A run: the ids of its messages, where each stands, and the bits of those that are not in it any more; false without one.
local function run_of(epoch)
  if runs[epoch] == nil then
    local told = call('HMGET', H, 'i' .. epoch, 'd' .. epoch)
    local run = told[1] and told[2] and { ids = {}, places = {}, gone = { string.byte(told[2], 1, -1) } } or false
    for id in string.gmatch(run and told[1] or '', '%S+') do
      run.places[id] = #run.ids
      run.ids[#run.ids + 1] = id
    end
    runs[epoch] = run
  end
  return runs[epoch]
end

-- Takes a message out of its run; answers whether it was in it.
local function leave_run(id, epoch)
  local run = run_of(epoch)
  local place = run and run.places[id]
  if not place then return false end
  local n, mask = math.floor(place / 8) + 1, 2 ^ (place % 8)
  if bit.band(run.gone[n], mask) ~= 0 then return false end
  run.gone[n], run.changed = run.gone[n] + mask, true
  return true
end

-- Writes how a run stands.
local function keep_run(epoch, gone)
  for n = 1, #gone do
    if gone[n] ~= 255 then
      call('HSET', H, 'd' .. epoch, string.char(unpack(gone)))
      return
    end
  end
  call('HDEL', H, 'i' .. epoch, 'd' .. epoch)
  call('ZREM', G, epoch)
end

-- Makes these messages, which are not pending, pending at a node. One that is not in the stream any more stays as it is.
local function make_pending(group, consumer, ids)
  for from = 1, #ids, 1000 do
    local claim = { 'XCLAIM', S, group, consumer, 0, unpack(ids, from, math.min(from + 999, #ids)) }
    claim[#claim + 1], claim[#claim + 2] = 'FORCE', 'JUSTID'
    call(unpack(claim))
  end
end

-- Writes what became of runs and of what was in them.
local function keep_runs(group, consumer)
  for epoch, run in pairs(runs) do
    if run and run.changed then keep_run(epoch, run.gone) end
  end
  make_pending(group, consumer, entered)
  runs, entered = {}, {}
end

-- What is known of an entry; what is still in the run of this epoch becomes one, which the caller writes.
local function entry_of(id, epoch)
  local s = read_state(call('HGET', H, id))
  if not s and leave_run(id, epoch) then
    s = { epoch = epoch, attempts = 0, state = 'b', lane = '', new = true }
    entered[#entered + 1] = id
  end
  return s
end

-- Ends a run: what is still in it is ready. Its tokens are good until somebody else has it. Answers how many those are.
local function end_run(epoch)
  local run, count = run_of(epoch), 0
  if not run then
    -- The server has lost what it was.
    call('ZREM', G, epoch)
    return 0
  end
  for _, id in ipairs(run.ids) do
    if leave_run(id, epoch) then
      call('HSET', H, id, epoch .. ' 0 b ')
      call('ZADD', R, 0, pad(id))
      count, entered[#entered + 1] = count + 1, id
    end
  end
  return count
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
  for _, epoch in ipairs(call('ZRANGEBYSCORE', G, '-inf', now, 'LIMIT', 0, 16)) do
    count = count + end_run(epoch)
  end
  return count
end
