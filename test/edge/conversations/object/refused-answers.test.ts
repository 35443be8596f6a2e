import { expect, test } from 'vitest';
import { STATUS_BY_TYPE } from '#edge/kit/http/errors.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { createSkyEdge, SKY } from '#test/support/agents.ts';
import { answerByScript } from '#test/support/scripted-runs.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';

const SECRET = 'told-to-nobody';
const WORDS = 'messages: this is not how it goes';
/** What a gateway adds to its answers. */
const OF_GATEWAY = {
  'x-gateway-account': SECRET,
  'x-request-id': SECRET,
  'x-envoy-upstream-service-time': SECRET,
  'report-to': SECRET,
  location: `https://${SECRET}.example`,
};
const error = (type: string) => JSON.stringify({ type: 'error', error: { type, message: WORDS }, request_id: 'req_1' });

/** An upstream's refusal: its status, and the type that its body says. */
const REFUSALS: [number, string][] = [
  ...[400, 404, 413, 422, 500, 503, 529].map((status): [number, string] => [status, SECRET]),
  ...([400, 404, 413, 529] as const).map((status): [number, string] => {
    const [type = ''] = Object.entries(STATUS_BY_TYPE).find(([, one]) => one === status) ?? [];
    return [status, type];
  }),
];

test.each([
  ['bound', true],
  ['plain', false],
])(
  'an upstream error for a %s token in a conversation has no gateway headers, and only error types of the API',
  async (_, isRestricted) => {
    const { app } = await createSkyEdge(SKY, 'none');
    const only = { agents: ['sky'], conversations: ['web-*'] };
    const caller = bearerHeader(await createToken('bob', ['messages'], isRestricted ? { only } : {}));
    for (const [at, [status, type]] of REFUSALS.entries()) {
      for (const form of ['whole', 'stream', 'asked-whole'] as const) {
        const name = `${status} ${type} ${form}`;
        answerByScript(() => {
          const [body, kind] =
            form === 'stream'
              ? [`event: error\ndata: ${error(type)}\n\n`, 'text/event-stream']
              : [error(type), 'application/json'];
          const headers = { ...OF_GATEWAY, 'content-type': kind, 'request-id': 'req_1', 'retry-after': '7' };
          return new Response(body, { status: form === 'stream' ? 200 : status, headers });
        });
        app.log.length = 0;
        const response = await app.post(
          '/v1/messages',
          {
            agent: 'sky',
            conversation: `web-${at}-${form}`,
            stream: form !== 'asked-whole',
            messages: [{ role: 'user', content: 'Hello' }],
          },
          caller,
        );
        const { status: got, headers } = response;
        const body = (await response.json()) as JsonObject;
        await app.waitUntilSettled();
        expect(got, name).toBeGreaterThanOrEqual(400);
        if (form !== 'stream') expect([got, headers.get('retry-after')], name).toEqual([status, '7']);
        expect(headers.get('request-id'), name).toBe('req_1');
        const told = body.error as { type: string; message: string };
        expect(Object.keys(STATUS_BY_TYPE), name).toContain(told.type);
        if (type !== SECRET) expect(told.type, name).toBe(type);
        if (!isRestricted) expect(told.message, name).toContain(WORDS);
        expect(JSON.stringify([body, [...headers], app.log]), name).not.toContain(SECRET);
        expect(JSON.stringify(app.log), name).toContain('"error_type"');
      }
    }
  },
);

/** Refusals in other forms than the API's, each of which quotes what went up. */
const QUOTING = [
  { error: { type: 'invalid_request_error', message: SECRET } },
  { type: 'invalid_request_error', message: SECRET },
  { object: 'error', message: SECRET, type: 'invalid_request_error' },
  { type: 'error', error: SECRET },
  { type: 'error', error: { type: 'invalid_request_error', message: SECRET, param: SECRET }, [SECRET]: SECRET },
  { type: 'error', error: { type: 'invalid_request_error', message: WORDS }, request_id: SECRET },
  [{ error: { message: SECRET } }],
  SECRET,
];

test('a restricted token gets no text that an upstream error quotes, in any form of the error', async () => {
  const { app } = await createSkyEdge(SKY, 'none');
  const only = { agents: ['sky'], conversations: ['web-*'] };
  const caller = bearerHeader(await createToken('bob', ['messages'], { only }));
  for (const [at, body] of QUOTING.entries())
    for (const status of [200, 400, 529])
      for (const raw of [JSON.stringify(body), `event: error\ndata: ${JSON.stringify(body)}\n\n`]) {
        const type = raw.startsWith('event') ? 'text/event-stream' : 'application/json';
        answerByScript(() => new Response(raw, { status, headers: { 'content-type': type } }));
        const conversation = `web-${at}-${status}-${type.length}`;
        const asked = {
          agent: 'sky',
          conversation,
          stream: at % 2 > 0,
          messages: [{ role: 'user', content: 'Hello' }],
        };
        const response = await app.post('/v1/messages', asked, caller);
        expect(await response.text(), `${status} ${raw}`).not.toContain(SECRET);
        await app.waitUntilSettled();
      }
});
