import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import { eventually } from './eventually.ts'
import { lasting } from './outage.ts'
import { type RedisProxy, startProxy } from './proxy.ts'
import { type RedisServer, startRedis } from './redis.ts'

let server: RedisServer
let proxy: RedisProxy
let clients: Redis[]

beforeEach(async () => {
  clients = []
  server = await startRedis()
  proxy = await startProxy(server.path)
})

afterEach(async () => {
  for (const client of clients) client.disconnect()
  await proxy.stop()
  await server.stop()
})

function connect(connectionName: string, url = proxy.url): Redis {
  const made = new Redis(url, {
    connectionName,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    retryStrategy: () => 10,
  })
  made.on('error', () => undefined)
  clients.push(made)
  return made
}

async function answerTime(redis: Redis): Promise<number> {
  const asked = performance.now()
  await redis.ping()
  return performance.now() - asked
}

describe('a proxy before a Redis', () => {
  test('passes everything, whole and in order', async () => {
    const redis = connect('a')
    const heard: string[] = []
    const listener = connect('listener')
    listener.on('message', (_, message) => void heard.push(message))
    await listener.subscribe('news')
    const big = Buffer.alloc(1_000_000, 'x\r\n$-1\r\n')
    await redis.set('big', big)
    expect(await redis.getBuffer('big')).toEqual(big)
    const numbers = Array.from({ length: 500 }, (_, number) => number + 1)
    expect(await Promise.all(numbers.map(() => redis.incr('count')))).toEqual(numbers)
    expect(await redis.multi().lpush('list', 'a').lrange('list', 0, -1).exec()).toEqual([
      [null, 1],
      [null, ['a']],
    ])
    await redis.publish('news', 'one')
    await eventually(() => expect(heard).toEqual(['one']))
    expect(proxy.clients.toSorted()).toEqual(['a', 'listener'])
  })

  test('holds the connections of one name only, and passes all of it in the end', async () => {
    const [held, other] = [connect('held'), connect('other')]
    await Promise.all([held.ping(), other.ping()])
    const end = proxy.hold({ client: 'held' })
    const writing = held.set('key', 'late')
    await other.ping()
    expect(await other.get('key')).toBeNull()
    end()
    expect(await writing).toBe('OK')
  })

  test('holds new connections of the name too', async () => {
    const end = proxy.hold({ client: 'held' })
    const answer = connect('held').ping()
    await eventually(() => expect(proxy.clients).toEqual(['held']))
    await connect('other').ping()
    expect(await Promise.race([answer, lasting(50).then(() => 'none')])).toBe('none')
    end()
    expect(await answer).toBe('PONG')
  })

  test('has what it held arrive, also when whoever sent it has gone', async () => {
    const [redis, direct] = [connect('a'), connect('direct', `unix://${server.path}`)]
    await redis.ping()
    const end = proxy.hold()
    redis.set('key', 'late').catch(() => undefined)
    await lasting(50)
    redis.disconnect()
    await lasting(50)
    expect([await direct.get('key'), proxy.clients]).toEqual([null, ['a']])
    end()
    await eventually(async () => expect(await direct.get('key')).toBe('late'))
    await eventually(() => expect(proxy.clients).toEqual([]))
  })

  test('holds one direction: it is done, and nobody hears of it', async () => {
    const [redis, direct] = [connect('a'), connect('direct', `unix://${server.path}`)]
    await redis.ping()
    const end = proxy.hold({ direction: 'toClient' })
    let isAnswered = false
    const writing = redis.set('key', 'done').then(() => {
      isAnswered = true
    })
    await eventually(async () => expect(await direct.get('key')).toBe('done'))
    expect(isAnswered).toBe(false)
    end()
    await writing
  })

  test('delays by that much, each way', async () => {
    const redis = connect('a')
    await redis.ping()
    const end = proxy.delay(600)
    expect(await answerTime(redis)).toBeGreaterThanOrEqual(1199)
    end()
    const endReplies = proxy.delay(600, { client: 'a', direction: 'toClient' })
    expect(await answerTime(redis)).toBeWithin(599, 1190)
    endReplies()
    expect(await answerTime(redis)).toBeLessThan(599)
  })

  test('cuts the connections of one name, which come back', async () => {
    const [cut, other] = [connect('cut'), connect('other')]
    let closed = 0
    for (const redis of [cut, other]) redis.on('close', () => (closed += 1))
    await Promise.all([cut.ping(), other.ping()])
    expect(proxy.cut({ client: 'cut' })).toBe(1)
    await eventually(() => expect(closed).toBe(1))
    await Promise.all([cut.ping(), other.ping()])
    expect(closed).toBe(1)
    expect(proxy.cut()).toBe(2)
  })

  test('loses exactly one reply: the command is done once, and nobody is told', async () => {
    const redis = connect('a')
    await redis.ping()
    const lost = proxy.loseReply(([name, key]) => name === 'incr' && key === 'b')
    const replies = await Promise.allSettled([redis.incr('a'), redis.incr('b'), redis.incr('c')])
    expect(replies.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected'])
    expect(await lost).toEqual(['incr', 'b'])
    expect(await redis.mget('a', 'b')).toEqual(['1', '1'])
    expect(await redis.incr('b')).toBe(2)
  })

  test('breaks when Redis does, and takes new connections when it is back', async () => {
    const redis = connect('a')
    await redis.ping()
    await server.restart()
    expect(await redis.ping()).toBe('PONG')
  })
})
