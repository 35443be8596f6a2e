// In workerd: a body whose rest does not come is the runtime's.
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { buildVisitorAccount } from '#edge/auth/identity/identity.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { advanceClock, stopClock } from '#test/support/calendar.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';

const KB = 1_000;
/** Two of them fill the memory for long bodies. */
const ANNOUNCED = 20_900 * KB;
const PIECE = 66 * KB;

/**
 * Stops the clock until the end of a test, and no longer looks for silences. Both would depend on how fast the machine is: then
 * only memory that others lack ends a body.
 */
function stopTime(): void {
  stopClock();
  vi.spyOn(globalThis, 'setInterval').mockReturnValue(0 as unknown as NodeJS.Timeout);
}

/** One token for each name. */
const tokens = new Map<string, Promise<string>>();
const headersOf = async (name: string) => {
  const token = tokens.get(name) ?? createToken(name, ['messages']);
  tokens.set(name, token);
  return { ...bearerHeader(await token), 'content-type': 'application/json' };
};

/** Announces a long body, of which a piece comes when it is asked for. */
async function trickle(app: TestApp, name: string) {
  const { readable, writable } = new FixedLengthStream(ANNOUNCED);
  const writer = writable.getWriter();
  const headers = { ...(await headersOf(name)), 'content-length': String(ANNOUNCED) };
  let answer: Response | undefined;
  const answered = Promise.resolve(app.fetch('/v1/messages', { method: 'POST', headers, body: readable })).then(
    (response) => {
      answer = response;
      return response;
    },
  );
  const send = async (bytes = PIECE) => await writer.write(new Uint8Array(bytes).fill(32));
  await send();
  return { send, answered, answer: () => answer, end: () => writer.abort(new Error('left')).catch(() => undefined) };
}

async function say(app: TestApp, name: string, bytes: number): Promise<number> {
  const content = 'a'.repeat(bytes);
  const body = { model: 'claude-haiku-4-5', max_tokens: 10, messages: [{ role: 'user', content }] };
  const response = await app.post('/v1/messages', body, await headersOf(name));
  await response.body?.cancel();
  return response.status;
}

test('a trickling long body is evicted when memory is needed, and its sender is locked out for a minute', async () => {
  stopTime();
  const app = createTestApp(() => Response.json(SMALL_MESSAGE), DEPLOYED_VARS);
  const [one, other] = [await trickle(app, 'trickler-1'), await trickle(app, 'trickler-2')];
  advanceClock(14_000);
  await Promise.all([one.send(), other.send()]);
  for (const bytes of [1 * KB, 300 * KB, 1_000 * KB]) expect(await say(app, `honest-${bytes}`, bytes)).toBe(200);
  for (const body of [one, other]) await body.end();
  const answers = await Promise.all([one.answered, other.answered]);
  const refused = answers.find(({ status }) => status === 503);
  expect(refused?.headers.get('retry-after')).toBe('2');
  expect((await readError(refused as Response)).message).toContain('Too many large requests');
  const out = answers[0] === refused ? 'trickler-1' : 'trickler-2';
  expect(await say(app, out, 300 * KB)).toBe(503);
  expect(await say(app, out, 1 * KB)).toBe(200);
  advanceClock(60_000);
  expect(await say(app, out, 300 * KB)).toBe(200);
  await app.waitUntilSettled();
});

test('a slow body keeps its memory if it is not a trickle, even if another body needs memory', async () => {
  stopTime();
  const app = createTestApp(() => Response.json(SMALL_MESSAGE), DEPLOYED_VARS);
  const fast = await trickle(app, 'fast');
  advanceClock(10_000);
  // A third of it in ten seconds: it is no trickle.
  await fast.send(7_000 * KB);
  const other = await trickle(app, 'beside');
  advanceClock(2_000);
  expect(await say(app, 'third', 1_000 * KB)).toBe(200);
  expect(fast.answer()).toBe(undefined);
  await fast.end();
  await other.end();
  expect([(await fast.answered).status, (await other.answered).status]).toEqual([400, 503]);
  await app.waitUntilSettled();
});

test('a body of 300 kB is read from a phone that sends 20 kB a second', async () => {
  stopTime();
  const app = createTestApp(() => Response.json(SMALL_MESSAGE), DEPLOYED_VARS);
  const messages = [{ role: 'user', content: 'a'.repeat(300 * KB) }];
  const bytes = new TextEncoder().encode(JSON.stringify({ model: 'claude-haiku-4-5', max_tokens: 10, messages }));
  const { readable, writable } = new FixedLengthStream(bytes.length);
  const headers = { ...(await headersOf('phone')), 'content-length': String(bytes.length) };
  const answered = app.fetch('/v1/messages', { method: 'POST', headers, body: readable });
  const writer = writable.getWriter();
  for (let at = 0; at < bytes.length; at += 20 * KB) {
    await writer.write(bytes.slice(at, at + 20 * KB));
    advanceClock(1_000);
  }
  await writer.close();
  const response = await answered;
  expect(response.status).toBe(200);
  await response.body?.cancel();
  await app.waitUntilSettled();
});

test('the silent body of an unknown sender is evicted after a second, and its sender is locked out', async () => {
  stopTime();
  const app = createTestApp(() => Response.json(SMALL_MESSAGE), {
    ...DEPLOYED_VARS,
    ...createWebhookVars('github'),
    GITHUB_WEBHOOK_SECRET: 'w'.repeat(32),
  });
  const send = async (bytes: number, isSilent: boolean) => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    const headers = { 'content-type': 'application/json', 'x-hub-signature-256': `sha256=${'0'.repeat(64)}` };
    const answered = Promise.resolve(app.fetch('/webhooks/github', { method: 'POST', headers, body: readable }));
    const broken: unknown[] = [];
    for (let sent = 0; sent < bytes && broken.length === 0; sent += 500 * KB) {
      await writer.write(new Uint8Array(500 * KB).fill(32)).catch((thrown) => broken.push(thrown));
    }
    if (!isSilent) await writer.close().catch((thrown) => broken.push(thrown));
    return { answered, end: () => writer.abort(new Error('left')).catch((thrown) => broken.push(thrown)) };
  };
  const silent = await send(24_500 * KB, true);
  expect(await say(app, 'early', 20_000 * KB)).toBe(503);
  advanceClock(1_000);
  expect(await say(app, 'later', 20_000 * KB)).toBe(200);
  expect((await silent.answered).status).toBe(503);
  expect((await (await send(24_500 * KB, false)).answered).status).toBe(503);
  // The signature of what strangers send within their limit is still verified.
  expect((await (await send(5_000 * KB, false)).answered).status).toBe(401);
  expect(await say(app, 'again', 20_000 * KB)).toBe(200);
  advanceClock(60_000);
  expect((await (await send(24_500 * KB, false)).answered).status).toBe(401);
  await silent.end();
  await app.waitUntilSettled();
});

/** A caller whose bodies come in a trickle, again and again. */
interface Attacker {
  /** `account/token` or `visitor/name`, and `stranger` for a webhook with a false signature. */
  from: string;
  /** What it announces. A stranger announces nothing, and sends all of it at once. */
  kilobytes: number;
  /** How much of that comes in a second. */
  kilobytesPerSecond: number;
}

/** One token that announces 30 MB and 2.5 MB more, one stranger that sends 24.5 MB and stays silent, and others beside them. */
const ATTACKERS: Attacker[] = [
  { from: 'shared/page', kilobytes: 30_000, kilobytesPerSecond: 0 },
  { from: 'shared/page', kilobytes: 2_500, kilobytesPerSecond: 0 },
  { from: 'stranger', kilobytes: 24_500, kilobytesPerSecond: 0 },
  { from: 'stranger', kilobytes: 900, kilobytesPerSecond: 0 },
  { from: 'mallory/1', kilobytes: 30_000, kilobytesPerSecond: 5 },
  { from: 'mallory/2', kilobytes: 9_000, kilobytesPerSecond: 60 },
  { from: 'visitor/a', kilobytes: 20_900, kilobytesPerSecond: 20 },
  { from: 'visitor/b', kilobytes: 8_000, kilobytesPerSecond: 5 },
];

describe('a phone that sends 4 MB at 70 kB a second', () => {
  const LENGTH = 4_000 * KB;
  const PER_SECOND = 70 * KB;
  let cases = 0;

  /** Sends the body of a phone while others attack. @returns what it and two honest callers got */
  async function sendAmong(attackers: readonly Attacker[], restMs: number) {
    stopTime();
    // Whoever had to give way in another case may send again.
    advanceClock(60_000);
    const app = createTestApp(() => Response.json(SMALL_MESSAGE), {
      ...DEPLOYED_VARS,
      ...createWebhookVars('github'),
      GITHUB_WEBHOOK_SECRET: 'w'.repeat(32),
    });
    cases += 1;
    const open = new Map<Attacker, AttackingBody>();
    const all: AttackingBody[] = [];
    const announce = async (attacker: Attacker) => {
      const sending = await beginBody(app, attacker, cases);
      open.set(attacker, sending);
      all.push(sending);
    };
    const { readable, writable } = new FixedLengthStream(LENGTH);
    const writer = writable.getWriter();
    const headers = { ...(await headersOf(`phone-${cases}`)), 'content-length': String(LENGTH) };
    const answered = app.fetch('/v1/messages', { method: 'POST', headers, body: readable });
    const bytes = new TextEncoder().encode(messageOf(LENGTH));
    const honest: number[] = [];
    for (let at = 0; at < LENGTH; at += PER_SECOND) {
      await writer.write(bytes.slice(at, at + PER_SECOND));
      advanceClock(1_000 - restMs);
      if ((at / PER_SECOND) % 10 === 9) {
        honest.push(await say(app, `honest-${cases}`, 300 * KB));
        honest.push(await say(app, `shared-${cases}`, 2_500 * KB));
      }
      advanceClock(restMs);
      await Promise.all([...open.values()].map(({ more }) => more()));
      for (const attacker of attackers) {
        // A body that is silent does not notice that it gave way: another one comes beside it.
        const isSilent = attacker.kilobytesPerSecond === 0 && (at / PER_SECOND) % 5 === 0;
        if (isSilent || open.get(attacker)?.isAnswered() !== false) await announce(attacker);
      }
    }
    await writer.close();
    const { status, body } = await answered;
    await body?.cancel();
    for (const { leave } of all) await leave();
    const statuses = await Promise.all(all.map(async (attacking) => (await attacking.answered).status));
    await app.waitUntilSettled();
    return { status, honest, announced: all.length, gaveWay: statuses.filter((one) => one === 503).length };
  }

  test('gets a response, as other honest tokens do, while tokens, visitors and unknown senders trickle', async () => {
    const { status, honest, announced, gaveWay } = await sendAmong(ATTACKERS, 500);
    expect(status).toBe(200);
    expect(new Set(honest)).toEqual(new Set([200]));
    expect(announced).toBeGreaterThan(5 * ATTACKERS.length);
    expect(gaveWay).toBeGreaterThan(announced / 2);
  });

  test('gets a response for any combination of trickling senders', async () => {
    const attacker = fc.record({
      from: fc.constantFrom('shared/1', 'shared/2', 'mallory/1', 'eve/1', 'visitor/a', 'visitor/b', 'stranger'),
      kilobytes: fc.integer({ min: 300, max: 31_000 }),
      kilobytesPerSecond: fc.constantFrom(0, 1, 5, 20, 60),
    });
    const attackers = fc.array(attacker, { minLength: 4, maxLength: 12 });
    await tryAsyncCases(caseCount(20, 0.1), attackers, fc.integer({ min: 0, max: 999 }), async (all, restMs) => {
      expect((await sendAmong(all, restMs)).status).toBe(200);
      return undefined;
    });
  });
});

/** @returns a message that is exactly so long in bytes */
function messageOf(bytes: number): string {
  const body = (content: string) =>
    JSON.stringify({ model: 'claude-haiku-4-5', max_tokens: 10, messages: [{ role: 'user', content }] });
  return body('a'.repeat(bytes - body('').length));
}

type AttackingBody = Awaited<ReturnType<typeof beginBody>>;

/** Begins to send a body of an attacker. Its writes fail once it is refused, which is nothing to it. */
async function beginBody(app: TestApp, { from, kilobytes, kilobytesPerSecond }: Attacker, nth: number) {
  const length = kilobytes * KB;
  const isStrange = from === 'stranger';
  const { readable, writable } = isStrange
    ? new TransformStream<Uint8Array, Uint8Array>()
    : new FixedLengthStream(length);
  const writer = writable.getWriter();
  const forged = { 'content-type': 'application/json', 'x-hub-signature-256': `sha256=${'0'.repeat(64)}` };
  const headers = isStrange ? forged : { ...(await headersOfAttacker(from, nth)), 'content-length': String(length) };
  const path = isStrange ? '/webhooks/github' : '/v1/messages';
  let sent = 0;
  let isOver = false;
  const answered = Promise.resolve(app.fetch(path, { method: 'POST', headers, body: readable })).then(
    async (response) => {
      isOver = true;
      await response.body?.cancel();
      return response;
    },
  );
  const send = async (bytes: number) => {
    if (isOver || bytes === 0 || sent + bytes >= length) return;
    sent += bytes;
    await writer.write(new Uint8Array(bytes).fill(32)).catch(ignoreRefused);
  };
  for (let at = 0; isStrange && at < length; at += 500 * KB) await send(Math.min(500 * KB, length - at - 1));
  return {
    answered,
    isAnswered: () => isOver,
    more: () => send(kilobytesPerSecond * KB),
    leave: () => writer.abort(new Error('left')).catch(ignoreRefused),
  };
}

async function headersOfAttacker(from: string, nth: number): Promise<Record<string, string>> {
  const [account = '', token = ''] = from.split('/');
  const key = `${account}-${nth}`;
  if (account !== 'visitor') {
    const made = tokens.get(`${key}/${token}`) ?? createToken(key, ['messages']);
    tokens.set(`${key}/${token}`, made);
    return { ...bearerHeader(await made), 'content-type': 'application/json' };
  }
  const mark = `${token}${nth}`.padStart(32, '0');
  return {
    ...bearerHeader(await createToken(buildVisitorAccount(mark), ['messages'])),
    'content-type': 'application/json',
  };
}

/** Ignores that a body which was refused cannot be written to. */
function ignoreRefused(): void {}
