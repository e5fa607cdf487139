"""The one call to Redis that a request costs: is what we remember still good, and is there a token?

Runs on Redis' clock, so that nodes whose clocks differ agree; knows fractions of a token, so that nothing is rounded
away between two calls. All keys carry the tenant in braces: one slot of a Redis Cluster.
"""

from typing import Final

# KEYS: [1] the tenant's version, [2..] the buckets.
# ARGV: [1] the version the caller remembers, or "" to skip the check; [2] how he knows it: 0 from memory, 1 read from
#       PostgreSQL just now, 2 the same and insisting; [3] the cost; then for each bucket its capacity and its tokens a
#       second.
# Answer: {outcome, whole tokens left, ms until the refused token is there, ms until there is one more}; outcome 1 the
#       token is taken, 0 there is none, -1 what the caller remembers may be out of date (nothing is taken).
#
# The version only rises. Absent (flushed, expired), only who has just read PostgreSQL may write it. Lower than the
# caller's, an announcement got lost and is made good. Higher, the caller is behind; if he insists after reading twice,
# PostgreSQL itself went back (a restored backup): he is let through, and the version here ends within a quarter of an
# hour by itself.
TAKE: Final = """
local asked = tonumber(ARGV[1])
local how = ARGV[2]
if asked then
  local known = tonumber(redis.call('GET', KEYS[1]) or '')
  if known ~= asked then
    if (not known and how == '0') or (known and known > asked and how ~= '2') then return {-1, 0, 0, 0} end
    if not known or known < asked then redis.call('SET', KEYS[1], ARGV[1], 'EX', 900) end
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost = tonumber(ARGV[3])
local tokens, marks = {}, {}
local retry, scarce = 0, 2
for i = 2, #KEYS do
  local capacity, rate = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local bucket = redis.call('HMGET', KEYS[i], 't', 'n')
  local mark, n = tonumber(bucket[1] or '') or now, tonumber(bucket[2] or '') or capacity
  if now > mark then n = n + (now - mark) * rate / 1000000; mark = now end
  n = math.min(capacity, n)
  tokens[i], marks[i] = n, mark
  if n < cost then retry = math.max(retry, (cost - n) / rate) end
  if n < tokens[scarce] then scarce = i end
end
if retry > 0 then
  local ms = math.ceil(retry * 1000)
  return {0, math.floor(tokens[scarce]), ms, ms}
end
for i = 2, #KEYS do
  local capacity, rate = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  redis.call('HSET', KEYS[i], 't', string.format('%.0f', marks[i]), 'n', string.format('%.6f', tokens[i] - cost))
  redis.call('PEXPIRE', KEYS[i], math.ceil(capacity / rate * 1000) + 1000)
end
local left, rate = tokens[scarce] - cost, tonumber(ARGV[2 * scarce + 1])
return {1, math.floor(left), 0, math.ceil((math.floor(left) + 1 - left) / rate * 1000)}
"""

# KEYS: [1] the tenant's version. ARGV: [1] the version that was committed.
RAISE: Final = """
local known = tonumber(redis.call('GET', KEYS[1]) or '')
if not known or known < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1], 'EX', 900) end
return 1
"""
