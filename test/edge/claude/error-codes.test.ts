// In workerd: requests, answers and objects are the runtime's.
import 'cloudflare:workers';

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { getUpstreamBySettings } from '#edge/claude/upstream.ts';
import { KeyHealth } from '#edge/claude/upstreams/key-health.ts';
import { parseSettingsOnce, type Settings } from '#edge/config/settings.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { createBody, createTestApp, type SentRequest, type TestApp, waitForAllApps } from '#test/support/app.ts';
import { eventually } from '#test/support/eventually.ts';
import { resetAll } from '#test/support/reset.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createWebhookWorks, getInbox } from '#test/support/webhooks.ts';

/** Whom each `error_code` reaches, by every way: its caller, or the operator alone. */
const MODEL = 'claude-opus-5-5';
const MESSAGES = [{ role: 'user', content: 'Hi' }];
const ASK = { model: MODEL, max_tokens: 100, messages: MESSAGES };
/** What the upstream's words name, and no caller may see. */
const ORGANIZATION = 'Acme Corp (org_01)';

type Way = 'message' | 'ridden' | 'stream' | 'stream begun' | 'turn' | 'turn begun' | 'count' | 'batch';
/** `refused`: the deployment. `limit`: the same, until a time that is known. `hidden`: the deployment, in this alone. */
type Concern = 'refused' | 'limit' | 'hidden' | 'passes' | 'caller' | 'busy';

interface Refusal {
  code?: string;
  status: number;
  type: string;
  message: string;
}

const TYPES: Record<number, string> = {
  400: 'invalid_request_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  409: 'conflict_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'api_error',
  529: 'overloaded_error',
};

const REFUSED: readonly Refusal[] = [
  ['organization_on_hold', 400],
  ['claude_code_key_creator_not_member', 400],
  ['cmek_key_disabled', 400],
  ['cmek_key_network_blocked', 400],
  ['contract_spend_limit_reached', 429],
].map(([code, status]) => refusal(`${code}`, Number(status)));
const LIMIT = refusal('enforced_spend_limit_reached', 429);
const SENTENCES: readonly [string, Concern, number][] = [
  [`You have reached your specified API usage limits.`, 'refused', 400],
  [`You have reached your specified workspace API usage limits.`, 'refused', 400],
  [`Your credit balance is too low to access the Anthropic API.`, 'refused', 400],
  [`This organization has been disabled.`, 'refused', 400],
  [
    `You have reached your API usage limits: your organization has crossed its monthly API usage threshold`,
    'limit',
    429,
  ],
];

const CODES: readonly [string, number, Concern][] = [
  ...REFUSED.map(({ code = '', status }): [string, number, Concern] => [code, status, 'refused']),
  ['enforced_spend_limit_reached', 429, 'limit'],
  ['workspace_human_review_disabled', 400, 'hidden'],
  ['storage_quota_exceeded', 400, 'hidden'],
  ['skill_read_blocked_undecryptable', 409, 'hidden'],
  ['sandbox_egress_restricted', 403, 'hidden'],
  ['cmek_key_unreachable', 503, 'passes'],
  ['cmek_context_unavailable', 503, 'passes'],
  ['ramp_limit_exceeded', 429, 'busy'],
  ['compaction_unavailable', 529, 'caller'],
  ['linked_organization_billing_unavailable', 402, 'caller'],
  ['linked_organization_spend_limit_reached', 402, 'caller'],
  ['user_profile_billing_not_authorized', 403, 'caller'],
  ['user_profile_not_billable', 403, 'caller'],
  ['file_expired', 404, 'caller'],
  ['thread_not_found', 404, 'caller'],
  ['request_body_too_large_after_decoding', 413, 'caller'],
  ...[
    'available_tools_limit_exceeded',
    'tool_name_conflict',
    'tool_reference_unresolved',
    'compaction_block_ambiguous',
    'compaction_block_misplaced',
    'compaction_content_mismatch',
    'compaction_incomplete_turn',
    'compaction_nothing_to_summarize',
    'compaction_signature_invalid',
    'compaction_too_many_tool_references',
    'compaction_tool_changes_mismatch',
    'image_dimensions_too_large',
    'request_body_encoding_invalid',
    'request_body_encoding_unsupported',
    'request_body_timeout',
    'unsupported_charset',
    'thread_already_continued',
    'thread_continue_in_flight',
    'thread_fingerprint_mismatch',
    'thread_unsupported_request',
    'user_profile_required',
    'user_profile_not_found',
    'claude_code_version_too_old',
    'file_not_downloadable',
    'a_code_of_the_future',
  ].map((code): [string, number, Concern] => [code, 400, 'caller']),
];

function refusal(code: string | undefined, status: number, message = `${ORGANIZATION} is refused. Key: billing.`) {
  return { ...(code !== undefined && { code }), status, type: TYPES[status] ?? '', message };
}

function bodyFor({ code, type, message }: Refusal): string {
  const details = code === undefined ? {} : { details: { error_code: code, appeal_url: 'https://appeal.test/acme' } };
  return JSON.stringify({ type: 'error', error: { type, message, ...details }, request_id: 'req_up' });
}

/** The API's error: with its status, or as the first event of a stream. */
function answerOf(refused: Refusal, begun: boolean): Response {
  const text = bodyFor(refused);
  if (!begun) return new Response(text, { status: refused.status, headers: { 'content-type': 'application/json' } });
  return new Response(createBody([`event: error\ndata: ${text}\n\n`]), {
    headers: { 'content-type': 'text/event-stream' },
  });
}

function answered({ url, text }: SentRequest): Response {
  if (url.pathname.endsWith('/count_tokens')) return Response.json({ input_tokens: 8 });
  const made = new Date(Date.now()).toISOString();
  if (url.pathname.endsWith('/batches')) {
    return Response.json({ id: 'msgbatch_1', type: 'message_batch', created_at: made, expires_at: made });
  }
  const message = { id: 'msg_1', type: 'message', role: 'assistant', model: MODEL };
  const usage = { input_tokens: 10, output_tokens: 10 };
  const ended = { stop_reason: 'end_turn', stop_sequence: null };
  const content = [{ type: 'text', text: 'Hello.' }];
  if (!/"stream": ?true/.test(text)) return Response.json({ ...message, content, ...ended, usage });
  const events = [
    { type: 'message_start', message: { ...message, content: [], stop_reason: null, usage } },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Hello.' } },
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: ended, usage: { output_tokens: 10 } },
    { type: 'message_stop' },
  ].map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  return new Response(createBody([events.join('')]), { headers: { 'content-type': 'text/event-stream' } });
}

let nth = 0;
/** Milliseconds by which the test's clock is ahead. */
let ahead = 0;
const machineNow = Date.now.bind(Date);

beforeEach(() => {
  nth += 1;
  ahead = 0;
  vi.spyOn(Date, 'now').mockImplementation(() => machineNow() + ahead);
});

afterEach(async () => {
  await waitForAllApps();
  vi.restoreAllMocks();
  await resetAll();
});

interface Edge {
  app: TestApp;
  ask(): Promise<{ response: Response; text: string }>;
  health(query?: string): Promise<{ status: number; json: { status: string; since?: string; todo?: string } }>;
  /** What the upstream, of several the first one, refuses with; undefined once it answers again. */
  said: { now: Refusal | undefined };
}

async function edge(way: Way, isOne: boolean): Promise<Edge> {
  createWebhookWorks();
  const said: Edge['said'] = { now: undefined };
  const answer = (sent: SentRequest) => {
    const isRefused = said.now && (isOne || sent.url.host.startsWith('east.'));
    return isRefused && said.now ? answerOf(said.now, way.endsWith('begun') || way === 'ridden') : answered(sent);
  };
  const entries = ['east', 'west'].map((name) => ({
    name,
    kind: 'anthropic',
    base_url: `https://${name}.codes${nth}.test`,
    models: [MODEL],
  }));
  const several = {
    UPSTREAM: '',
    ANTHROPIC_API_KEY: '',
    UPSTREAMS: JSON.stringify(entries),
    UPSTREAM_EAST_KEY: 'key-east',
    UPSTREAM_WEST_KEY: 'key-west',
  };
  const one = { UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: 'sk-ant-the-key' };
  const limits = way === 'ridden' ? { DEFAULT_LIMITS: '{"usd_per_day":1000}' } : {};
  const vars = { ...DEPLOYED_VARS, UPSTREAM_MAX_RETRIES: '0', ...(isOne ? one : several), ...limits };
  const app = createTestApp(answer, vars);
  const inside = Conversation.prototype as unknown as { settings(): Settings; upstream(): unknown };
  const parsed = parseSettingsOnce(vars);
  vi.spyOn(inside, 'settings').mockReturnValue(parsed);
  const upstream = getUpstreamBySettings(parsed, async (url, { signal, ...init }) => {
    const text = await new Response(init.body ?? '').text();
    return answer({ method: 'POST', url: new URL(url), text, signal } as SentRequest);
  });
  const credential = bearerHeader(await createToken(`codes-${nth}`, ['messages']));
  if (isOne && way.startsWith('turn')) {
    // The object and the Worker of one isolate know the same of the only key: the object here gets what the Worker has.
    const noting = vi.spyOn(KeyHealth.prototype, 'recordAnswerOrRejection');
    await app.post('/count-tokens', { model: MODEL, messages: MESSAGES }, credential);
    Object.assign(upstream, { key: noting.mock.contexts[0] });
  }
  vi.spyOn(inside, 'upstream').mockReturnValue(upstream);
  let asked = 0;
  const ask = async () => {
    asked += 1;
    const isTurn = way.startsWith('turn');
    const body = { ...ASK, ...(isTurn && { conversation: `c${nth}-${asked}` }) };
    const params = { custom_id: 'a', params: ASK };
    const long = { ...ASK, max_tokens: 4_096 };
    const [path, sent] = {
      message: ['/v1/messages', ASK],
      ridden: ['/v1/messages', long],
      stream: ['/messages', ASK],
      'stream begun': ['/messages', ASK],
      turn: ['/messages', body],
      'turn begun': ['/messages', body],
      count: ['/count-tokens', { model: MODEL, messages: MESSAGES }],
      batch: ['/v1/messages/batches', { requests: [params] }],
    }[way] as [string, object];
    const response = await app.post(path, sent, credential);
    const text = await response.text();
    await app.waitUntilSettled();
    return { response, text };
  };
  const health = async (query = '') => {
    const response = await app.fetch(`/health${query}`);
    return { status: response.status, json: (await response.json()) as { status: string } };
  };
  return { app, ask, health, said };
}

const alerts = async () =>
  (await getInbox('alert').listAlerts({ limit: 100 })).data.map(({ kind, subject }) => [kind, subject]);

function errorIn(text: string): { type: string; message: string; details?: object } {
  const { error } = JSON.parse(/\{"type":"error".*\}/.exec(text)?.[0] ?? '{}') as { error?: { type: string } };
  if (!error) throw new Error(`That is no error: ${text}`);
  return error as ReturnType<typeof errorIn>;
}

/** Checks what a caller is told of a refusal that is the operator's. */
function expectHidden(response: Response, text: string, concern: Concern): void {
  for (const word of ['Acme', 'org_01', 'appeal.test', 'usage limits', 'credit balance', 'disabled']) {
    expect(text).not.toContain(word);
  }
  const error = errorIn(text);
  expect(response.headers.get('x-should-retry')).toBe('false');
  if (concern !== 'limit') {
    expect([response.status, error.type, response.headers.get('retry-after')]).toEqual([500, 'api_error', null]);
    expect(error.message).toBe('The upstream rejected this deployment. The operator can find the reason in the log.');
    return;
  }
  expect([response.status, error.type]).toEqual([429, 'billing_error']);
  expect(response.headers.get('sluice-limited-by')).toBe('upstream');
  const wait = Number(response.headers.get('retry-after')) * 1_000;
  const end = Date.now() + wait;
  const [until = ''] = /\d{4}-\d\d-01T00:00:00\.000Z/.exec(error.message) ?? [];
  // The answer was made a moment ago.
  expect(Math.abs(end - Date.parse(until))).toBeLessThan(20_000);
  expect(wait).toBeGreaterThan(0);
  expect(wait).toBeLessThanOrEqual(31 * 86_400_000);
}

describe.each(CODES)('%s', (code, status, concern) => {
  test('is forwarded to the caller, or hidden and logged for the operator', async () => {
    const { app, ask, health, said } = await edge('message', true);
    const refused = refusal(code, status);
    said.now = refused;
    const { response, text } = await ask();
    const line = app.log.find(({ route }) => route === '/v1/messages');
    const logged = `${status} ${refused.type} ${code}: ${refused.message}`;
    if (concern === 'refused' || concern === 'limit' || concern === 'hidden') {
      expectHidden(response, text, concern);
      expect([line?.error_type, line?.upstream_said]).toEqual(['upstream_auth', logged]);
    } else if (concern === 'passes') {
      expect(text).not.toContain('Acme');
      expect([response.status, errorIn(text).type]).toEqual([503, 'api_error']);
      expect(response.headers.get('retry-after')).toBe('1');
      expect(response.headers.get('x-should-retry')).toBeNull();
      expect([line?.error_type, line?.upstream_said]).toEqual(['upstream_503', logged]);
    } else if (concern === 'busy') {
      expect(text).not.toContain('Acme');
      expect([response.status, errorIn(text).type]).toEqual([429, 'rate_limit_error']);
    } else {
      expect([response.status, text]).toEqual([status, bodyFor(refused)]);
    }
    const isRefused = concern === 'refused' || concern === 'limit';
    expect((await health()).json.status).toBe(isRefused ? 'degraded' : 'ok');
  });
});

const WAYS: readonly Way[] = ['message', 'ridden', 'stream', 'stream begun', 'turn', 'turn begun', 'count', 'batch'];
/** A sentence is judged in one place, so two ways are enough: with its status, and first in a stream. */
const OF_SENTENCES: readonly Way[] = ['message', 'stream begun'];
const OPERATORS: readonly [string, Concern, Refusal][] = [
  ...[...REFUSED, LIMIT].map((one): [string, Concern, Refusal] => [
    one.code ?? '',
    one === LIMIT ? 'limit' : 'refused',
    one,
  ]),
  ...SENTENCES.map(([message, concern, status]): [string, Concern, Refusal] => [
    message,
    concern,
    refusal(undefined, status, message),
  ]),
];

describe.each(OPERATORS)('%s', (_, concern, refused) => {
  const ways = refused.code === undefined ? OF_SENTENCES : WAYS;
  test.each(ways)(
    'at the only upstream (%s): sends an alert, degrades health, and clears both after recovery',
    async (way) => {
      const { ask, health, said } = await edge(way, true);
      said.now = refused;
      const { response, text } = await ask();
      expectHidden(response, text, concern);
      const { json } = await health();
      expect(json).toMatchObject({
        status: 'degraded',
        todo: expect.stringMatching(/^The Claude API .* ANTHROPIC_API_KEY\.$/),
      });
      expect(JSON.stringify(json)).not.toMatch(/Acme|appeal\.test/);
      expect((await health('?strict')).status).toBe(503);
      const { code = '', status, type, message } = refused;
      const told = `${status} ${[type, code].join(' ').trim()}: ${message}`;
      await eventually(async () => expect(await alerts()).toEqual([['key_refused', told]]));
      said.now = undefined;
      expect((await ask()).response.status).toBe(200);
      expect(await health('?strict')).toMatchObject({ status: 200, json: { status: 'ok' } });
      expect((await health()).json.todo).toBeUndefined();
      await eventually(async () =>
        expect((await alerts())[0]).toEqual([
          'key_works',
          expect.stringMatching(/^requests were rejected from \S+Z until \S+Z$/),
        ]),
      );
    },
  );

  test.each(ways)(
    'at one of two upstreams (%s): the other responds, and health and the alert name the rejected upstream',
    async (way) => {
      const { ask, health, said } = await edge(way, false);
      said.now = refused;
      if (way === 'batch') {
        // Its body goes up once, so the next one goes to the other upstream.
        const { response, text } = await ask();
        expectHidden(response, text, concern);
      }
      const { response, text } = await ask();
      expect(response.status, text).toBe(200);
      expect(text).not.toContain('event: error');
      const { json } = await health('?strict');
      expect(json).toMatchObject({
        status: 'degraded',
        todo: expect.stringMatching(/^The upstream east .* UPSTREAM_EAST_KEY\.$/),
      });
      expect((await health('?strict')).status).toBe(200);
      await eventually(async () => expect((await alerts()).map(([kind]) => kind)).toEqual(['key_refused']));
      expect((await alerts())[0]?.[1]).toMatch(/^east: \d+ \w+/);
      said.now = undefined;
      // The breaker has to let it be tried, and the account to forget where its prompts are cached.
      ahead += 6 * 60_000;
      expect((await ask()).response.status).toBe(200);
      expect((await health()).json.status).toBe('ok');
      await eventually(async () =>
        expect((await alerts())[0]).toEqual([
          'key_works',
          expect.stringMatching(/^east: requests were rejected from /),
        ]),
      );
    },
  );
});
