// In workerd: requests, answers and objects are the runtime's.
import { env } from 'cloudflare:workers';
import { describe, expect, test, vi } from 'vitest';
import { getUpstreamBySettings } from '#edge/claude/upstream.ts';
import { parseSettingsOnce, type Settings } from '#edge/config/settings.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { Account } from '#edge/money/account/account.ts';
import { createBody, createTestApp, type SentRequest, type TestApp, waitForAllApps } from '#test/support/app.ts';
import { advanceClock, stopClock } from '#test/support/calendar.ts';
import { waitForCondition } from '#test/support/eventually.ts';
import {
  gatewayError,
  namedErrorStream,
  namelessErrorStream,
  TOO_LONG_MESSAGE,
} from '#test/support/foreign-gateway/errors.ts';
import { keepObjects } from '#test/support/reset.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { sseResponse } from '#test/support/wire.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

/**
 * What each way says to its caller, writes into the log, and books, whatever the upstream does: one row for each thing that
 * can happen, with its exceptions. A way that answers otherwise today stands in `WRONG`.
 */
const MODEL = 'claude-opus-5-5';
const HAIKU = 'claude-haiku-5-5';
const MESSAGES = [{ role: 'user', content: 'Hi' }];
const ASK = { model: MODEL, max_tokens: 4_096, messages: MESSAGES };

type Way = 'message' | 'ridden' | 'stream' | 'turn' | 'vote' | 'count' | 'prefix' | 'download';
type Engine = 'one upstream' | 'several upstreams';
type Ask = (path: string, body?: object) => Promise<Response>;

const WAYS: Record<Way, (ask: Ask) => Promise<Response>> = {
  message: (ask) => ask('/v1/messages', ASK),
  ridden: (ask) => ask('/v1/messages', ASK),
  stream: (ask) => ask('/messages', ASK),
  turn: (ask) => ask('/messages', { ...ASK, conversation: 'c1' }),
  vote: (ask) => ask('/classify', { input: 'x', labels: ['a', 'b'], model: MODEL, cache_seconds: 0 }),
  count: (ask) => ask('/count-tokens', { model: MODEL, messages: MESSAGES }),
  prefix: (ask) => ask('/prefixes/support', { system: 'You are kind.', model: MODEL }),
  download: (ask) => ask('/v1/files/file_1/content'),
};
/** With a limit in USD, and as much at stake as by `ASK`, a whole answer rides on a stream. */
const VARS: Partial<Record<Way, Record<string, string>>> = { ridden: { DEFAULT_LIMITS: '{"usd_per_day":1000}' } };
const FREE: readonly Way[] = ['count', 'prefix', 'download'];

/** What a caller is told, what stands in the log line, and the rows of the ledger, newest first. */
interface Cell {
  says: string;
  logs: string;
  books: string;
}

interface Row extends Cell {
  answer: (sent: SentRequest) => Response | Promise<Response>;
  vars?: Record<string, string>;
  headers?: Record<string, string>;
  /** From which call on the account's answers to an admission are lost. */
  lost?: number;
  /** Whether it is over when time has passed, as a silence. */
  takesTime?: boolean;
  /** What happens once the request has gone up. */
  once?: 'leave' | 'stop';
  /** Where it can happen; by default on all ways. */
  on?: readonly Way[];
  /** How single ways, or all with several upstreams, differ. A way with one or several upstreams has the last word. */
  but?: Partial<Record<Way | 'several' | `${'one' | 'several'} ${Way}`, Partial<Cell>>>;
}

const refusal =
  (status: number, type: string, message: string, headers: Record<string, string> = {}) =>
  () =>
    Response.json(
      { type: 'error', error: { type, message }, request_id: 'req_up' },
      { status, headers: { 'request-id': 'req_up', ...headers } },
    );
const page =
  (status: number, headers: Record<string, string> = {}) =>
  () =>
    new Response('<html>Log in</html>', { status, headers: { 'content-type': 'text/html', ...headers } });
/** What may have run takes longer to fail than a connection takes to be made. */
const late = (answer: () => Response) => async () => {
  advanceClock(80);
  return answer();
};
/** The same by the clock alone: it goes on, and nobody waits. */
const later = (answer: () => Response) => () => {
  ahead += 80;
  return answer();
};
/** What the runtime makes of a status below 200: no response can be made with one. */
const provisional = () =>
  Object.defineProperties(new Response('HTTP/1.1 200 OK\r\n\r\n{}'), {
    status: { value: 100 },
    ok: { value: false },
  });
/** What does not stream is not sent again after a try that may have run. */
const ONCE: Row['but'] = {
  several: { books: 'cut by the clock, retried by the clock' },
  'several message': { books: 'cut by the clock' },
  'several vote': { books: 'cut by the clock' },
};
const isStream = ({ text }: SentRequest) => /"stream": ?true/.test(text);
const headersOf = (sent: SentRequest) => ({
  'content-type': isStream(sent) ? 'text/event-stream' : 'application/json',
});
const never = ({ signal }: SentRequest) =>
  new Promise<Response>((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason), { once: true }));
const silence = (sent: SentRequest) =>
  new Response(
    new ReadableStream({
      type: 'bytes',
      start: (body) =>
        sent.signal?.addEventListener('abort', () => body.error(sent.signal?.reason), { once: true }) ?? undefined,
    }),
    { headers: headersOf(sent) },
  );
const answered = (model: string) =>
  Response.json({
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model,
    content: [{ type: 'text', text: '{"label":"a"}' }],
    stop_reason: 'end_turn',
    usage: { input_tokens: 10, output_tokens: 10 },
  });

/** A refusal in the API's form that a caller may see: it is told in the upstream's own words, and costs nothing. */
const told = (status: number, type: string, message: string): Row => ({
  answer: refusal(status, type, message),
  says: `${status} ${type}: ${message}`,
  logs: type,
  books: 'refused_upstream free',
});

/** A refusal that only the operator can correct: the log alone has the upstream's words. */
const ofOperator = (status: number, type: string, message: string): Row => ({
  answer: refusal(status, type, message),
  says: '500 api_error: The upstream rejected this deployment. The operator can find the reason in the log. [x-should-retry: false]',
  logs: `upstream_auth (${status} ${type}: ${message})`,
  books: 'refused_upstream free',
});

const SILENT =
  'api_error: The upstream stopped sending before the response was complete. The part that you received is valid. Send the request again for a complete response.';
const CUT =
  'api_error: The connection to the upstream broke before the response was complete. Send the request again for a complete response.';
const TIMED_OUT = '504 timeout_error: The upstream did not respond in time. Try again, or stream the response.';
const NOT_THE_API =
  '500 api_error: The server at the upstream’s address is not the Claude API. The operator must check ANTHROPIC_BASE_URL, or `base_url` in UPSTREAMS.';
const LOST = '503 api_error: The account could not be reached. Try again in a moment. [retry-after: 1]';
/** A file may have any content. */
const A_FILE = { says: '200 its content', logs: 'nothing' };

const ROWS: Record<string, Row> = {
  'a refused key': ofOperator(401, 'authentication_error', 'invalid x-api-key'),
  'an open bill': ofOperator(402, 'billing_error', 'Your bill is open.'),
  'no credit': ofOperator(
    400,
    'invalid_request_error',
    'Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to purchase credits.',
  ),
  'a 403 about the key': ofOperator(403, 'permission_error', 'Your API key does not have permission.'),
  'a 403 about the request': told(403, 'permission_error', 'Fast mode is not available for this model in your plan'),
  'a 400': told(400, 'invalid_request_error', 'max_tokens: too large'),
  'a 408': told(408, 'timeout_error', 'Request timeout'),
  'a 409': told(409, 'conflict_error', 'Conflict'),
  'a 500': told(500, 'api_error', 'Internal server error'),
  'a 529': told(529, 'overloaded_error', 'Overloaded'),
  'a 429': {
    answer: refusal(429, 'rate_limit_error', 'Your organization org_1 is limited.', { 'retry-after': '30' }),
    says: '429 rate_limit_error: The upstream limits the requests of this deployment at the moment. Try again in 30 s. [retry-after: 30, sluice-limited-by: upstream]',
    logs: 'rate_limit_error',
    books: 'refused_upstream free',
  },
  'a redirect': {
    answer: () => new Response(null, { status: 307, headers: { location: 'https://elsewhere.test' } }),
    says: '500 api_error: The upstream responded with a redirect. The operator must set ANTHROPIC_BASE_URL, or `base_url` in UPSTREAMS, to the final address. [x-should-retry: false]',
    logs: 'upstream_redirect',
    books: 'refused_upstream free',
  },
  'a page with the status of a success': {
    answer: page(200),
    says: NOT_THE_API,
    logs: 'upstream_no_answer',
    books: 'refused_upstream free',
    but: { download: A_FILE },
  },
  'a status below 200': {
    answer: provisional,
    says: NOT_THE_API,
    logs: 'upstream_no_answer',
    books: 'cut by the clock',
    but: ONCE,
  },
  'no body after a while': {
    answer: later(() => new Response(null, { status: 204 })),
    says: NOT_THE_API,
    logs: 'upstream_no_answer',
    books: 'cut by the clock',
    but: { ...ONCE, download: A_FILE },
  },
  'an empty body after a while': {
    answer: later(() => new Response(createBody(['\n']))),
    says: NOT_THE_API,
    logs: 'upstream_no_answer',
    books: 'cut by the clock',
    but: { download: A_FILE },
  },
  'an error with the status of a success': {
    ...told(529, 'overloaded_error', 'Overloaded'),
    answer: () => Response.json({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }),
    but: { download: A_FILE },
  },
  'a 400 of a gateway': {
    answer: () => gatewayError('a detail', TOO_LONG_MESSAGE),
    says: `400 invalid_request_error: ${TOO_LONG_MESSAGE}`,
    logs: 'upstream_400',
    books: 'refused_upstream free',
  },
  'a stream that is nothing but an error': {
    ...told(529, 'overloaded_error', 'Overloaded'),
    answer: () =>
      sseResponse(
        createBody([namedErrorStream({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } })]),
      ),
    but: { download: { says: '200 overloaded_error: Overloaded', logs: 'nothing' } },
  },
  'a stream that is nothing but an error without a name': {
    answer: () => sseResponse(createBody([namelessErrorStream({ error: { message: TOO_LONG_MESSAGE } })])),
    says: `400 invalid_request_error: ${TOO_LONG_MESSAGE}`,
    logs: 'upstream_400',
    books: 'refused_upstream free',
    but: { download: A_FILE },
  },
  'a page of a proxy that reached nobody': {
    answer: page(521),
    says: '521 api_error: The upstream responded with 521 without an explanation. If this persists, give the operator the request id.',
    logs: 'upstream_521',
    books: 'refused_upstream free',
  },
  'a page after a while': {
    answer: late(page(502)),
    says: '502 api_error: The upstream responded with 502 without an explanation. If this persists, give the operator the request id.',
    logs: 'upstream_502',
    books: 'refused_upstream by the clock',
    // What does not stream is not sent again after a try that may have run.
    but: {
      several: { books: 'refused_upstream by the clock, retried by the clock' },
      'several message': { books: 'refused_upstream by the clock' },
      'several vote': { books: 'refused_upstream by the clock' },
    },
  },
  'no connection': {
    answer: () => Promise.reject(new TypeError('DNS lookup failed')),
    says: '500 api_error: The upstream could not be reached. Try again in a moment.',
    logs: 'upstream_unreachable: DNS lookup failed',
    books: 'unreachable free',
  },
  'no headers': {
    answer: never,
    takesTime: true,
    vars: { UPSTREAM_TIMEOUT_MS: '60' },
    says: TIMED_OUT,
    logs: 'upstream_timeout',
    books: 'cut by the clock',
  },
  'no first byte': {
    answer: silence,
    takesTime: true,
    vars: { STREAM_IDLE_MS: '60', UPSTREAM_TIMEOUT_MS: '300' },
    says: TIMED_OUT,
    logs: 'upstream_timeout',
    books: 'cut by the clock',
    but: {
      // One upstream's headers go down at once. With several the first byte is a part of the try.
      'one stream': { says: `200 ${SILENT}`, logs: 'upstream_silent', books: 'silent by the clock' },
      'one turn': { says: `200 ${SILENT}`, logs: 'upstream_silent', books: 'interrupted by the clock' },
      download: { says: '200 broken off', logs: 'upstream_silent' },
    },
  },
  'a cut': {
    answer: (sent) =>
      new Response(createBody([isStream(sent) ? 'event: message_start\nda' : '{"type":"mess'], 'cut'), {
        headers: headersOf(sent),
      }),
    says: `500 ${CUT}`,
    logs: 'upstream_cut',
    books: 'cut by the clock',
    but: {
      stream: { says: `200 ${CUT}` },
      turn: { says: `200 ${CUT}`, books: 'interrupted by the clock' },
      download: { says: '200 broken off' },
    },
  },
  'a caller who leaves': {
    // Where the call goes on, it ends.
    answer: async ({ signal }) => {
      await left.promise;
      await yieldToEventLoop(20);
      signal?.throwIfAborted();
      return answered(MODEL);
    },
    once: 'leave',
    says: 'nothing',
    logs: 'client_gone',
    books: 'client_gone by the clock',
    but: {
      // What streams is read on for a moment.
      stream: { books: 'complete as used' },
      ridden: { books: 'complete as used' },
      // A turn goes on: its caller finds the answer in the conversation.
      turn: { logs: 'nothing', books: 'complete as used' },
    },
  },
  'a stop': {
    answer: never,
    once: 'stop',
    on: ['turn'],
    says: '410 not_found_error: This turn was stopped before the response began. Send the message again to continue. [x-should-retry: false]',
    logs: 'stopped',
    // It is read on to its first event.
    books: 'held',
  },
  'a lost first admission': {
    answer: () => answered(MODEL),
    lost: 1,
    says: LOST,
    logs: 'account_unreachable: lost',
    books: 'unreachable free',
  },
  'a lost second admission': {
    answer: late(page(502, { 'retry-after-ms': '1' })),
    lost: 2,
    vars: { UPSTREAM_MAX_RETRIES: '1' },
    on: ['stream', 'turn'],
    says: '502 api_error: The upstream responded with 502 without an explanation. If this persists, give the operator the request id.',
    logs: 'upstream_502',
    books: 'unreachable free, retried by the clock',
  },
  'a model that steps in': {
    answer: ({ text }) => (text.includes(HAIKU) ? answered(HAIKU) : refusal(529, 'overloaded_error', 'Overloaded')()),
    headers: { 'sluice-fallback-models': HAIKU },
    on: ['message', 'stream', 'turn', 'vote'],
    says: '529 overloaded_error: Overloaded',
    logs: 'overloaded_error',
    books: 'refused_upstream free',
    but: { several: { says: `200 ${HAIKU}`, logs: 'nothing', books: 'complete as used, retried free' } },
  },
};

let nth = 0;
/** Milliseconds by which the test's clock is ahead. */
let ahead = 0;
const machineNow = Date.now.bind(Date);
/** Resolved once the caller has left. */
let left = Promise.withResolvers<void>();

function edge(way: Way, engine: Engine, { answer, vars }: Row): TestApp {
  nth += 1;
  ahead = 0;
  vi.spyOn(Date, 'now').mockImplementation(() => machineNow() + ahead);
  const entries = ['east', 'west'].map((name) => ({
    name,
    kind: 'anthropic',
    base_url: `https://${name}.ways${nth}.test`,
    models: [MODEL, HAIKU],
  }));
  const several = {
    UPSTREAM: '',
    ANTHROPIC_API_KEY: '',
    UPSTREAMS: JSON.stringify(entries),
    UPSTREAM_EAST_KEY: 'key-east',
    UPSTREAM_WEST_KEY: 'key-west',
  };
  const one = { UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: 'sk-ant-the-key' };
  const engineVars = engine === 'one upstream' ? one : several;
  const settings = { ...DEPLOYED_VARS, UPSTREAM_MAX_RETRIES: '0', ...engineVars, ...VARS[way], ...vars };
  const app = createTestApp(answer, settings);
  const inside = Conversation.prototype as unknown as { settings(): Settings; upstream(): unknown };
  const parsed = parseSettingsOnce(settings);
  vi.spyOn(inside, 'settings').mockReturnValue(parsed);
  vi.spyOn(inside, 'upstream').mockReturnValue(
    getUpstreamBySettings(parsed, async (url, { signal, ...init }) => {
      const text = await new Response(init.body ?? '').text();
      const sent = { method: 'POST', url: new URL(url), text, signal } as SentRequest;
      app.sent.push(sent);
      return await answer(sent);
    }),
  );
  return app;
}

/** Has the account's answers to an admission be lost from the given one on, although it has decided. */
function loseAdmissions(from: number): void {
  const { admitJson } = Account.prototype;
  let calls = 0;
  vi.spyOn(Account.prototype, 'admitJson').mockImplementation(async function (this: Account, ...args) {
    const decision = await admitJson.apply(this, args);
    calls += 1;
    if (calls >= from) throw Object.assign(new Error('lost'), { retryable: false });
    return decision;
  });
}

async function cellOf(way: Way, engine: Engine, row: Row): Promise<Cell> {
  const account = `${way}-${nth}`;
  left = Promise.withResolvers();
  const app = edge(way, engine, row);
  const credential = bearerHeader(await createToken(account, ['messages', 'classify', 'prefixes']));
  if (way === 'download') {
    const upstream = engine === 'one upstream' ? '' : 'east';
    const stub = getAccountStub(env as unknown as Bindings, parseSettingsOnce(DEPLOYED_VARS), account);
    await stub.recordCreatedResources([{ kind: 'file', id: 'file_1', upstream }]);
  }
  if (row.lost) loseAdmissions(row.lost);
  const caller = new AbortController();
  const headers = { 'content-type': 'application/json', ...credential, ...row.headers };
  const asking = WAYS[way]((path, body) =>
    app.fetch(path, {
      ...(body && { method: path.startsWith('/prefixes') ? 'PUT' : 'POST', body: JSON.stringify(body) }),
      headers,
      signal: caller.signal,
    }),
  );
  const reading = asking.then(saidIn, () => 'nothing');
  if (row.once) await waitForCondition(() => app.sent.length > 0);
  if (row.once === 'stop') await app.post('/conversations/c1/stop', {}, credential);
  if (row.once === 'leave') {
    caller.abort();
    left.resolve();
  }
  const said = await reading;
  await app.waitUntilSettled();
  // The alert of a refusal has a line of its own, without a route, at any time.
  const line = app.log.find(({ route }) => route !== undefined && !String(route).endsWith('/stop'));
  const logs = line?.upstream_said
    ? `${line.error_type} (${line.upstream_said})`
    : String(line?.error_type ?? 'nothing');
  const usage = await app.fetch('/usage/requests', { headers: credential });
  const { data } = (await usage.json()) as { data: { status: string; cost_usd: number; estimated: boolean }[] };
  const books = data.map(({ status, cost_usd, estimated }) =>
    status === 'held' ? status : `${status} ${cost_usd === 0 ? 'free' : estimated ? 'by the clock' : 'as used'}`,
  );
  return { says: row.once === 'leave' ? 'nothing' : said, logs, books: books.join(', ') };
}

/** @returns status and error of an answer, or what it answers with. */
async function saidIn(response: Response): Promise<string> {
  const text = await response.text().catch(() => undefined);
  if (text === undefined) return `${response.status} broken off`;
  const envelope = /\{"type":"error".*\}/.exec(text)?.[0];
  if (response.status < 400 && !text.includes('event: error')) {
    const model = /"model":"([\w-]+)"/.exec(text)?.[1];
    return `${response.status} ${model ?? 'its content'}`;
  }
  const { error } = JSON.parse(envelope ?? '{}') as { error?: { type: string; message: string } };
  const shown = ['retry-after', 'x-should-retry', 'sluice-limited-by'].flatMap((name) =>
    response.headers.has(name) ? `${name}: ${response.headers.get(name)}` : [],
  );
  return `${response.status} ${error?.type}: ${error?.message}${shown.length > 0 ? ` [${shown.join(', ')}]` : ''}`;
}

keepObjects();

const ENGINES: readonly Engine[] = ['one upstream', 'several upstreams'];
const CASES = ENGINES.flatMap((engine) => Object.entries(ROWS).map(([name, row]) => ({ engine, name, row })));

describe.each(CASES)('with $engine, $name', ({ engine, row }) => {
  const { says, logs, books, but = {}, on = Object.keys(WAYS) as Way[] } = row;
  for (const way of on) {
    const isOne = engine === 'one upstream';
    const right = { says, logs, books, ...(isOne ? {} : but.several), ...but[way] };
    if (!isOne && but.several && way !== 'download') Object.assign(right, but.several);
    Object.assign(right, but[`${isOne ? 'one' : 'several'} ${way}`]);
    if (FREE.includes(way)) right.books = '';
    test(`gives ${way} the expected response, log line and ledger rows`, async () => {
      // How soon something fails says whether it has run: a busy machine must not.
      if (!row.takesTime) stopClock();
      const cell = await cellOf(way, engine, row);
      await waitForAllApps();
      vi.restoreAllMocks();
      expect(cell).toEqual(right);
    });
  }
});
