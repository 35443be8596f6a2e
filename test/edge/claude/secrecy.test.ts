// In workerd: requests, answers and objects are the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { type Fetch, getUpstreamBySettings } from '#edge/claude/upstream.ts';
import { parseSettingsOnce, type Settings } from '#edge/config/settings.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { encodeUtf8 } from '#edge/kit/http/bytes.ts';
import { createBody, createTestApp } from '#test/support/app.ts';
import { advanceClock } from '#test/support/calendar.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { messageStart, PING, sseResponse } from '#test/support/wire.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

const MODEL = 'claude-opus-5-5';
const ASK = { model: MODEL, max_tokens: 50, messages: [{ role: 'user', content: 'Hi' }] };

/** What a gateway may answer with that repeats all the headers that it was sent, in each of these forms. */
const ECHOES: Record<string, (said: string) => Response | Promise<Response>> = {
  'an error': (said) => refused(500, said),
  'an error of the caller': (said) => refused(400, said),
  'a refused key': (said) => refused(401, said),
  'a missing model': (said) => refused(404, said),
  'a page': (said) => new Response(`<html>${said}</html>`, { status: 502, headers: { 'content-type': 'text/html' } }),
  'an error with the status of a success': (said) => Response.json(error(said)),
  'a stream that begins with an error': (said) => sseResponse(createBody([errorEvent(said)])),
  'a stream whose pieces split the secret in its first event': (said) =>
    sseResponse(createBody(errorEvent(said).match(/.{1,9}/gs) ?? [])),
  'a stream with an error after a ping': (said) => inTime([PING, errorEvent(said)]),
  'a stream with an error after a comment, in pieces': (said) =>
    inTime([': wait\n\n', ...(errorEvent(said).match(/.{1,40}/gs) ?? [])]),
  'a stream with an error after its opening': (said) => inTime([OPENING + PING + errorEvent(said)]),
  'a slow stream with an error': (said) => inTime([OPENING, PING, PING, PING, PING, PING, errorEvent(said)], 5),
  'a dense stream with an error': (said) => inTime([OPENING, ...Array(40).fill(PING), errorEvent(said)]),
  'a failure of the network': (said) => Promise.reject(new TypeError(`cannot send ${said}`)),
};

const OPENING = messageStart();
const errorEvent = (said: string) => `event: error\ndata: ${JSON.stringify(error(said))}\n\n`;

/** @returns a stream that comes in these pieces, with so many milliseconds between them */
function inTime(pieces: readonly string[], ms = 0): Response {
  const body = new ReadableStream({
    async start(controller) {
      for (const piece of pieces) {
        controller.enqueue(encodeUtf8(piece));
        advanceClock(ms);
        await yieldToEventLoop();
      }
      controller.close();
    },
  });
  return sseResponse(body);
}

const error = (message: string) => ({ type: 'error', error: { type: 'invalid_request_error', message } });

function refused(status: number, said: string): Response {
  return Response.json(error(said), {
    status,
    headers: { 'request-id': said.slice(-120), 'x-gateway': said.slice(-120) },
  });
}

const FORMS: Record<string, (text: string) => string> = {
  'as it is': (text) => text,
  'in JSON': (text) => JSON.stringify(text),
  'in JSON with its slashes escaped': (text) => JSON.stringify(text).replaceAll('/', '\\/'),
  'in a URL': (text) => encodeURIComponent(text),
};

const secretText = (unit: string, length: number) =>
  fc.string({ unit: fc.constantFrom(...unit), minLength: length, maxLength: length + 30 });
const apiKey = secretText('ABCxyz0189-_+/="\\~', 12);
const signing = fc
  .tuple(secretText('ABCXYZ0189', 16), secretText('ABCxyz0189/+=', 16), fc.option(secretText('ABCxyz0189/+=', 8)))
  .map(([id, key, session]) => [id, key, ...(session === null ? [] : [session])].join(':'));

const WAYS: ((app: ReturnType<typeof createTestApp>) => Promise<Response>)[] = [
  (app) => app.post('/v1/messages', ASK),
  (app) => app.post('/messages', ASK),
  (app) => app.post('/messages', { ...ASK, conversation: `c${Math.random()}` }),
  (app) => app.post('/v1/messages', { ...ASK, conversation: `c${Math.random()}` }),
  (app) => app.post('/classify', { input: 'x', labels: ['a', 'b'], model: MODEL, cache_seconds: 0 }),
  (app) => app.post('/v1/messages/count_tokens', { model: MODEL, messages: ASK.messages }),
];

/** Makes both the Worker and its conversations go up by the same function. */
function edge(vars: Record<string, string>, answer: (headers: Headers, url: string) => Response | Promise<Response>) {
  const settings = { UPSTREAM: '', ANTHROPIC_API_KEY: '', UPSTREAM_MAX_RETRIES: '0', ...vars };
  const app = createTestApp(({ headers, url }) => answer(headers, url.href), settings);
  const parsed = parseSettingsOnce({ ...settings }, true);
  const inside = Conversation.prototype as unknown as { settings(): Settings; upstream(): unknown };
  const fetch: Fetch = async (url, init) => await answer(new Headers(init.headers), url);
  vi.spyOn(inside, 'settings').mockReturnValue(parsed);
  vi.spyOn(inside, 'upstream').mockImplementation(() => getUpstreamBySettings(parsed, fetch));
  return app;
}

const nth = { deployments: 0 };

test('masks upstream secrets in responses and logs, whatever the upstream echoes', async () => {
  const failures = vi.spyOn(console, 'error').mockImplementation(() => undefined);
  await tryAsyncCases(
    caseCount(600),
    fc.constantFrom('one', 'UPSTREAMS'),
    fc.tuple(
      apiKey,
      fc.oneof(
        apiKey.filter((key) => !key.includes(':')),
        signing,
      ),
    ),
    fc.constantFrom(...Object.keys(ECHOES)),
    fc.constantFrom(...Object.keys(FORMS)),
    fc.constantFrom(...WAYS),
    async (kind, [first, second], echo, form, way) => {
      nth.deployments += 1;
      const base_url = `https://n${nth.deployments}.test`;
      const several = {
        UPSTREAMS: JSON.stringify([
          { name: 'east', kind: 'anthropic', base_url },
          { name: 'west', kind: 'bedrock', region: 'us-east-1', base_url },
        ]),
        UPSTREAM_EAST_KEY: first,
        UPSTREAM_WEST_KEY: second,
      };
      const app = edge(
        kind === 'one' ? { ANTHROPIC_API_KEY: first, UPSTREAM: 'anthropic' } : several,
        (headers, url) => {
          // A gateway has the whole secret, also where only a signature by it went up.
          const all = [url, ...[...headers].flat(), first, ...(kind === 'one' ? [] : [second])].join(' ');
          return ECHOES[echo]?.(FORMS[form]?.(all) ?? '') ?? new Response();
        },
      );
      const response = await way(app);
      const text = await response.text();
      await app.waitUntilSettled();
      const told = [
        text,
        JSON.stringify([...response.headers]),
        JSON.stringify(app.log),
        JSON.stringify(failures.mock.calls),
      ];
      const rows = await (await app.fetch('/usage/requests')).text();
      const secrets = [first, ...(kind === 'one' ? [] : second.split(':'))];
      for (const secret of secrets) {
        for (const written of [secret, ...Object.values(FORMS).map((of) => of(secret).replace(/^"|"$/g, ''))]) {
          for (const one of [...told, rows]) expect(one).not.toContain(written);
        }
      }
    },
  );
});
