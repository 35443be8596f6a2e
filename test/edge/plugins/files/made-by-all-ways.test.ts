import { runInDurableObject } from 'cloudflare:test';
import { describe, expect, test, vi } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { Account } from '#edge/money/account/account.ts';
import { runInAccount } from '#test/edge/money/account/run-in-account.ts';
import { createTestApp } from '#test/support/app.ts';
import { bindings, installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createBody, readStream, sendTurn } from '#test/support/turns.ts';
import { contentBlock, messageEnd, messageStart, sseResponse } from '#test/support/wire.ts';

const OUTPUT = { type: 'bash_code_execution_output', file_id: 'file_made' };
const RESULT = {
  type: 'bash_code_execution_tool_result',
  tool_use_id: 'srvtoolu_1',
  content: { type: 'bash_code_execution_result', stdout: '', stderr: '', return_code: 0, content: [OUTPUT] },
};
const USAGE = { input_tokens: 10, output_tokens: 1 };
const MESSAGE = { id: 'msg_made', type: 'message', role: 'assistant', model: 'claude-opus-5-5', usage: USAGE };
/** An answer whose tool has made a file, in a container that only its last events name. */
const ANSWER =
  messageStart(MESSAGE) +
  contentBlock(RESULT) +
  messageEnd(
    { output_tokens: 5 },
    { stop_reason: 'end_turn', container: { id: 'container_made', expires_at: '2026-11-21T00:00:00Z' } },
  );
const streamed = () => sseResponse(ANSWER);
const CODE = { tools: [{ type: 'code_execution_20250825', name: 'code_execution' }] };
const ASK = {
  model: 'claude-opus-5-5',
  max_tokens: 64,
  messages: [{ role: 'user', content: 'Plot it.' }],
  stream: true,
};
const WAYS: [string, object][] = [
  ['a relayed answer', { ...ASK, ...CODE }],
  ['a relayed answer with a prefix', { ...ASK, prefix: 'plots' }],
  ['a conversation', { ...ASK, ...CODE, conversation: 'c1' }],
  ['a conversation with a prefix', { ...ASK, prefix: 'plots', conversation: 'c1' }],
  ['an agent', { messages: ASK.messages, stream: true, agent: 'plotter', conversation: 'c1' }],
  ['a turn in the background', { ...ASK, ...CODE, conversation: 'c1', background: true, stream: false }],
  [
    'a turn with a prefix in the background',
    { ...ASK, prefix: 'plots', conversation: 'c1', background: true, stream: false },
  ],
];

/** Has conversations answered like this. */
function answering(answer: () => Response): void {
  installSimulator();
  setConversationUpstream(async () => answer());
}

test.each(WAYS)('the container and file that %s creates belong to the account', async (_, body) => {
  answering(streamed);
  const app = createTestApp(
    ({ url }) => (url.pathname.endsWith('count_tokens') ? Response.json({ input_tokens: 100 }) : streamed()),
    DEPLOYED_VARS,
  );
  const as = async (account: string, scope: 'admin' | 'messages') => ({
    'content-type': 'application/json',
    ...bearerHeader(await createToken(account, [scope])),
  });
  const root = await as('root', 'admin');
  const put = async (path: string, of: object) =>
    expect((await app.fetch(path, { method: 'PUT', headers: root, body: JSON.stringify(of) })).status).toBeLessThan(
      300,
    );
  await put('/prefixes/plots', { ...CODE, system: 'You plot.', model: 'claude-opus-5-5' });
  await put('/agents/plotter', { model: 'claude-opus-5-5', max_tokens: 64, system: 'You plot.', ...CODE });
  const answer = await app.post('/v1/messages', body, await as('alice', 'messages'));
  await answer.text();
  expect(answer.status).toBeLessThan(300);
  await eventually(async () => {
    const found = await getAccountStub(bindings, {}, 'alice').ownership(['container_made', 'file_made']);
    expect(found.map(({ id }) => id)).toEqual(['container_made', 'file_made']);
  });
});

const RESULT_ENDS = ANSWER.indexOf('event: message_delta');
const ENDS: [string, string[], () => Response][] = [
  [
    'came in one piece, as a gateway may answer,',
    ['container_made', 'file_made'],
    () =>
      Response.json({ ...MESSAGE, stop_reason: 'end_turn', content: [RESULT], container: { id: 'container_made' } }),
  ],
  ['broke off', ['file_made'], () => sseResponse(ANSWER.slice(0, RESULT_ENDS))],
];

test.each(ENDS)('the resources of a response that %s belong to its account', async (_, ids, answer) => {
  answering(answer);
  await sendTurn({ ...createBody('Plot it.'), ...CODE }).then(
    async (given) => given.kind === 'stream' && (await readStream(given.body)),
  );
  await eventually(async () => {
    const found = await getAccountStub(bindings, {}, 'alice').ownership(['container_made', 'file_made']);
    expect(found.map(({ id }) => id)).toEqual(ids);
  });
});

test('a paid response is returned although its resources could not be recorded', async () => {
  vi.spyOn(Account.prototype, 'recordCreatedResources').mockImplementation(() => {
    throw new Error('lost');
  });
  const made = { ...MESSAGE, stop_reason: 'end_turn', content: [RESULT], container: { id: 'container_made' } };
  const app = createTestApp(
    ({ url }) => Response.json(url.pathname.endsWith('count_tokens') ? { input_tokens: 100 } : made),
    DEPLOYED_VARS,
  );
  const token = bearerHeader(await createToken('alice', ['messages']));
  const response = await app.post('/v1/messages', { ...ASK, ...CODE, stream: false }, token);
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({ id: MESSAGE.id, container: { id: 'container_made' } });
  await app.waitUntilSettled();
});

describe('a container', () => {
  const END = Date.now() + 3_600_000;
  const owned = async () =>
    (await getAccountStub(bindings, {}, 'alice').ownership(['container_made', 'file_made'])).map(({ id }) => id);
  const container = (expiresAt: number) => ({
    id: 'container_made',
    kind: 'container' as const,
    upstream: '',
    expiresAt,
  });
  const at = async (now: number) =>
    await runInAccount(getAccountStub(bindings, {}, 'alice'), { now: () => now, retentionDays: 30 }, (object) =>
      object.alarm(),
    );

  test('belongs to its account until it expires, later if it is used again, and its file remains', async () => {
    const stub = getAccountStub(bindings, {}, 'alice');
    await stub.recordCreatedResources([container(END), { id: 'file_made', kind: 'file', upstream: '' }]);
    const alarmAt = async () => await runInDurableObject(stub, (_, { storage }) => storage.getAlarm());
    expect(await alarmAt()).toBeGreaterThan(END);
    await stub.recordCreatedResources([container(END + 600_000)]);
    await stub.recordCreatedResources([container(END)]);
    await at(END + 590_000);
    expect(await owned()).toEqual(['container_made', 'file_made']);
    expect(await alarmAt()).toBeGreaterThanOrEqual(END + 600_000);
    await at(END + 700_000);
    expect(await owned()).toEqual(['file_made']);
  });

  test.each([
    [404, 'not_found_error', 'Container not found: container_made', []],
    [410, 'not_found_error', 'container_made is gone', []],
    [400, 'invalid_request_error', 'Container container_made has expired.', []],
    [404, 'not_found_error', 'model: claude-none', ['container_made']],
    [400, 'invalid_request_error', 'container_made is busy', ['container_made']],
  ])('for which the upstream returns %i %s “%s” leaves the account owning %j', async (status, type, message, left) => {
    await getAccountStub(bindings, {}, 'alice').recordCreatedResources([container(END)]);
    const refused = () => Response.json({ type: 'error', error: { type, message } }, { status });
    const app = createTestApp(refused, DEPLOYED_VARS);
    const body = { ...ASK, stream: false, container: 'container_made' };
    const answer = await app.post('/v1/messages', body, bearerHeader(await createToken('alice')));
    expect(answer.status).toBe(status);
    await app.waitUntilSettled();
    expect(await owned()).toEqual(left);
    await getAccountStub(bindings, {}, 'alice').recordCreatedResources([container(END)]);
    answering(refused);
    await sendTurn({ ...createBody('Plot it.'), ...CODE, container: 'container_made' });
    await eventually(async () => expect(await owned()).toEqual(left));
  });
});
