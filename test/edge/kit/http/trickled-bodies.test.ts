// In workerd: a body whose rest does not come is the runtime's.
import { expect, test } from 'vitest';
import { errorOf, type TestApp, testApp } from '#test/support/app.ts';
import { passTime } from '#test/support/calendar.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearer, DEPLOYED, tokenOf } from '#test/support/tokens.ts';
import { webhookVars } from '#test/support/webhook-vars.ts';

const KB = 1_000;
/** Two of them fill the room for long bodies. */
const ANNOUNCED = 20_900 * KB;
const PIECE = 66 * KB;

/** One token for each name. */
const tokens = new Map<string, Promise<string>>();
const headersOf = async (name: string) => {
  const token = tokens.get(name) ?? tokenOf(name, ['messages']);
  tokens.set(name, token);
  return { ...bearer(await token), 'content-type': 'application/json' };
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

test('two who send in a trickle what they have announced give way to everybody else, and stay out for a minute', async () => {
  const app = testApp(() => Response.json(SMALL_MESSAGE), DEPLOYED);
  const [one, other] = [await trickle(app, 'trickler-1'), await trickle(app, 'trickler-2')];
  passTime(14_000);
  await Promise.all([one.send(), other.send()]);
  for (const bytes of [1 * KB, 300 * KB, 1_000 * KB]) expect(await say(app, `honest-${bytes}`, bytes)).toBe(200);
  for (const body of [one, other]) await body.end();
  const answers = await Promise.all([one.answered, other.answered]);
  const refused = answers.find(({ status }) => status === 503);
  expect(refused?.headers.get('retry-after')).toBe('2');
  expect((await errorOf(refused as Response)).message).toContain('Too many large requests');
  const out = answers[0] === refused ? 'trickler-1' : 'trickler-2';
  expect(await say(app, out, 300 * KB)).toBe(503);
  expect(await say(app, out, 1 * KB)).toBe(200);
  passTime(60_000);
  expect(await say(app, out, 300 * KB)).toBe(200);
  await app.settled();
});

test('a slow body that nobody wants the room of is read whole, and one of a phone keeps its room', async () => {
  const app = testApp(() => Response.json(SMALL_MESSAGE), DEPLOYED);
  const fast = await trickle(app, 'fast');
  passTime(10_000);
  // A third of it in ten seconds: it is no trickle.
  await fast.send(7_000 * KB);
  const other = await trickle(app, 'beside');
  passTime(2_000);
  expect(await say(app, 'third', 1_000 * KB)).toBe(200);
  expect(fast.answer()).toBe(undefined);
  await fast.end();
  await other.end();
  expect([(await fast.answered).status, (await other.answered).status]).toEqual([400, 503]);
  await app.settled();
});

test('a phone that sends 20 kB a second gets its 300 kB through', async () => {
  const app = testApp(() => Response.json(SMALL_MESSAGE), DEPLOYED);
  const messages = [{ role: 'user', content: 'a'.repeat(300 * KB) }];
  const bytes = new TextEncoder().encode(JSON.stringify({ model: 'claude-haiku-4-5', max_tokens: 10, messages }));
  const { readable, writable } = new FixedLengthStream(bytes.length);
  const headers = { ...(await headersOf('phone')), 'content-length': String(bytes.length) };
  const answered = app.fetch('/v1/messages', { method: 'POST', headers, body: readable });
  const writer = writable.getWriter();
  for (let at = 0; at < bytes.length; at += 20 * KB) {
    await writer.write(bytes.slice(at, at + 20 * KB));
    passTime(1_000);
  }
  await writer.close();
  const response = await answered;
  expect(response.status).toBe(200);
  await response.body?.cancel();
  await app.settled();
});

test('a silent stranger with a well-formed signature gives way after a second, and sends no other long body for a minute', async () => {
  const app = testApp(() => Response.json(SMALL_MESSAGE), {
    ...DEPLOYED,
    ...webhookVars('github'),
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
  passTime(1_000);
  expect(await say(app, 'later', 20_000 * KB)).toBe(200);
  expect((await silent.answered).status).toBe(503);
  expect((await (await send(24_500 * KB, false)).answered).status).toBe(503);
  // The signature of what strangers send within their limit is still verified.
  expect((await (await send(5_000 * KB, false)).answered).status).toBe(401);
  expect(await say(app, 'again', 20_000 * KB)).toBe(200);
  passTime(60_000);
  expect((await (await send(24_500 * KB, false)).answered).status).toBe(401);
  await silent.end();
  await app.settled();
});
