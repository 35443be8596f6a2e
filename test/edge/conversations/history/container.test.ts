/** Code that waits for the results of tools goes on in its container, or leaves the history. */
import { describe, expect, test } from 'vitest';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { createTestApp, type TestApp } from '#test/support/app.ts';
import { bindings, createTimeAdvancer, listMessages, stubOf } from '#test/support/conversations.ts';
import { importMessages, READ_ROUTES, readRowsBy } from '#test/support/read-rows-by-route.ts';
import {
  type AskedBody,
  answerByScript,
  answerTools,
  installTwoUpstreams,
  TOOL_VARS,
  textAnswer,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, runTurn, sendTurn, textOfDeltas } from '#test/support/turns.ts';
import { createErrorResponse, sseResponse } from '#test/support/wire.ts';

const CODE = { type: 'code_execution_20260120', name: 'code_execution' };
const USE = {
  type: 'server_tool_use',
  id: 'srvtoolu_1',
  name: 'code_execution',
  input: { code: 'get_weather("Bern")' },
};
const CALL = {
  type: 'tool_use',
  id: 'toolu_1',
  name: 'get_weather',
  input: { city: 'Bern' },
  caller: { type: 'code_execution_20260120', tool_id: 'srvtoolu_1' },
};
const RESULT = { type: 'tool_result', tool_use_id: 'toolu_1', content: 'sun' };
const RAN = {
  type: 'code_execution_tool_result',
  tool_use_id: 'srvtoolu_1',
  content: { type: 'code_execution_result', stdout: 'sun', stderr: '', return_code: 0, content: [] },
};
/** The answer of code that has gone on. */
const ran = () => ({ content: [RAN, { type: 'text', text: 'Sun.' }] as JsonObject[] });
const CONTAINER = { id: 'container_1', expires_at: '2126-11-28T00:00:00Z' };
const { run: _, ...own } = weatherTool();
/** Asks with a tool that the edge calls, or that the caller calls. */
const asked = (tool: object, more: object = {}) => createBody('How is the weather?', { tools: [CODE, tool], ...more });
const waits = (more: object = {}) => ({ content: [USE, CALL] as JsonObject[], stop_reason: 'tool_use', ...more });
const answers = (bodies: readonly AskedBody[]) => bodies.at(-1)?.messages.at(-1)?.content as JsonObject[];
const containers = (bodies: readonly AskedBody[]) => bodies.map(({ container }) => container);

describe('the next step of a run', () => {
  test('sends the id of the container in which code waits for the tool results', async () => {
    const bodies = answerByScript((_, number) => (number === 1 ? waits({ container: CONTAINER }) : ran()));
    const calls = answerTools(() => new Response('sun'));
    const { events } = await runTurn(asked(weatherTool()));
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(calls).toHaveLength(1);
    expect(containers(bodies)).toEqual([undefined, 'container_1']);
    expect(bodies[1]?.messages.slice(1)).toEqual([
      { role: 'assistant', content: [USE, CALL] },
      { role: 'user', content: [RESULT] },
    ]);
  });

  test('sends the container id together with the skills of the caller', async () => {
    const bodies = answerByScript((_, number) => (number === 1 ? waits({ container: CONTAINER }) : ran()));
    answerTools(() => new Response('sun'));
    const skills = [{ type: 'anthropic', skill_id: 'pptx', version: 'latest' }];
    await runTurn(asked(weatherTool(), { container: { skills } }));
    expect(containers(bodies)).toEqual([{ skills }, { skills, id: 'container_1' }]);
  });

  test.each([
    ['was not told', {}],
    ['has ended', { container: { id: 'container_1', expires_at: '2026-01-01T00:00:00Z' } }],
  ])('sends the tool results once, as text, if no usable container is known: it %s', async (_, told) => {
    const bodies = answerByScript((_, number) => (number === 1 ? waits(told) : textAnswer('Sun.')));
    const calls = answerTools(() => new Response('sun'));
    const { events } = await runTurn(asked(weatherTool()));
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(calls).toHaveLength(1);
    expect(containers(bodies)).toEqual([undefined, undefined]);
    const [note, result] = answers(bodies);
    expect(note?.text).toContain('Its tool was called');
    expect(result).toEqual({ type: 'text', text: 'sun' });
    await runTurn(createBody('Thanks'));
    expect(bodies).toHaveLength(3);
    expect(answers(bodies)).toBe('Thanks');
  });
});

describe('a container that the API rejects', () => {
  test.each([
    [404, 'not_found_error', 'Container not found: container_1'],
    [400, 'invalid_request_error', 'container: Container container_1 has expired.'],
    [500, 'api_error', 'Internal server error'],
  ])('is not sent again after a %i, and the tool results are sent as text', async (status, type, words) => {
    const bodies = answerByScript(({ container }, number) =>
      number === 1
        ? waits({ container: CONTAINER })
        : container
          ? createErrorResponse(status, type, words)
          : textAnswer('Sun.'),
    );
    const calls = answerTools(() => new Response('sun'));
    const { events } = await runTurn(asked(weatherTool({ once: true })));
    expect(events.at(-1)?.event).toBe('error');
    const { events: next } = await runTurn(createBody('Go on'));
    expect(textOfDeltas(next)).toBe('Sun.');
    expect(calls).toHaveLength(1);
    expect(containers(bodies)).toEqual([undefined, 'container_1', undefined]);
    expect(answers(bodies).slice(1)).toEqual([
      { type: 'text', text: 'sun' },
      { type: 'text', text: 'Go on' },
    ]);
  });

  test.each([
    [400, 'Your credit balance is too low to access the Anthropic API'],
    [529, 'Overloaded'],
  ])('is sent again after an unrelated error: %i %s', async (status, words) => {
    const type = status === 400 ? 'invalid_request_error' : 'overloaded_error';
    const bodies = answerByScript((_, number) =>
      number === 1 ? waits({ container: CONTAINER }) : number === 2 ? createErrorResponse(status, type, words) : ran(),
    );
    await runTurn(asked(own));
    expect(await sendTurn(createBody([RESULT]))).not.toMatchObject({ kind: 'stream' });
    await runTurn(createBody([RESULT]));
    expect(containers(bodies)).toEqual([undefined, 'container_1', 'container_1']);
  });

  test('is sent again, with the code that waits in it, after an error about a file', async () => {
    const words = 'messages.0.content.1.container_upload: File not found';
    const bodies = answerByScript((_, number) =>
      number === 1
        ? waits({ container: CONTAINER })
        : number === 2
          ? createErrorResponse(400, 'invalid_request_error', words)
          : ran(),
    );
    const [text, upload] = [
      { type: 'text', text: 'How is the weather?' },
      { type: 'container_upload', file_id: 'file_1' },
    ];
    await getAccountStub(bindings, {}, 'alice').recordCreatedResources([{ id: 'file_1', kind: 'file', upstream: '' }]);
    await runTurn(createBody([text, upload], { tools: [CODE, own] }));
    expect(await sendTurn(createBody([RESULT]))).toMatchObject({ kind: 'stream' });
    expect(containers(bodies)).toEqual([undefined, 'container_1', 'container_1']);
    expect(bodies[2]?.messages).toEqual([
      { role: 'user', content: [text, { type: 'text', text: '[a file that can no longer be read]' }] },
      { role: 'assistant', content: [USE, CALL] },
      { role: 'user', content: [RESULT] },
    ]);
  });

  test("leaves the conversation's own container unchanged if the request named the rejected one", async () => {
    const bodies = answerByScript(({ container }, number) => {
      if (number < 3) return waits({ container: { id: `container_${number}` } });
      return container === 'container_2' ? createErrorResponse(404, 'not_found_error', 'Container not found') : ran();
    });
    await runTurn(asked(own));
    await runTurn(asked(own), { id: 'c2' });
    await sendTurn(createBody([RESULT], { container: 'container_2' }));
    await runTurn(createBody([RESULT]));
    expect(containers(bodies).slice(2)).toEqual(['container_2', 'container_1']);
  });
});

describe('the next request', () => {
  const callAndAnswer = async (script: object = { container: CONTAINER }) => {
    const bodies = answerByScript(({ container }, number) =>
      number === 1 ? waits(script) : container ? ran() : textAnswer('Sun.'),
    );
    await runTurn(asked(own));
    return bodies;
  };

  test('sends the container id while code waits in the container, and not afterwards', async () => {
    const bodies = await callAndAnswer();
    await runTurn(createBody([RESULT]));
    await runTurn(createBody('Thanks'));
    expect(containers(bodies)).toEqual([undefined, 'container_1', undefined]);
  });

  test('sends the container id that the caller names', async () => {
    const bodies = answerByScript((_, number) =>
      number < 3 ? waits({ container: { id: `container_${number}` } }) : ran(),
    );
    await runTurn(asked(own));
    await runTurn(asked(own), { id: 'c2' });
    await runTurn(createBody([RESULT], { container: 'container_2' }));
    expect(containers(bodies)).toEqual([undefined, undefined, 'container_2']);
  });

  test('sends calls and results as text once the container has expired, also if the client resends them', async () => {
    const expires_at = new Date(Date.now() + 60_000).toISOString();
    const pass = createTimeAdvancer();
    const bodies = await callAndAnswer({ container: { id: 'container_1', expires_at } });
    pass(120_000);
    const history = [
      { role: 'user', content: 'How is the weather?' },
      { role: 'assistant', content: [USE, CALL] },
      { role: 'user', content: [RESULT] },
    ];
    await runTurn({ ...createBody(''), messages: history });
    expect(answers(bodies)[1]).toEqual({ type: 'text', text: 'sun' });
    const more = [...history, { role: 'assistant', content: 'Sun.' }, { role: 'user', content: 'Thanks' }];
    await runTurn({ ...createBody(''), messages: more });
    expect(answers(bodies)).toBe('Thanks');
    expect(containers(bodies)).toEqual([undefined, undefined, undefined]);
    const rows = await listMessages();
    expect(rows.slice(0, 5).map(({ role, content }) => ({ role, content }))).toEqual([
      ...history,
      { role: 'assistant', content: [{ type: 'text', text: 'Sun.' }] },
      { role: 'user', content: 'Thanks' },
    ]);
  });

  test('sends calls as text if the response to their results did not finish their code', async () => {
    const bodies = answerByScript((_, number) => (number === 1 ? waits({ container: CONTAINER }) : textAnswer('Sun.')));
    await runTurn(asked(own));
    await runTurn(createBody([RESULT]));
    await runTurn(createBody('Thanks'));
    expect(containers(bodies)).toEqual([undefined, 'container_1', undefined]);
    expect(bodies[2]?.messages.map(({ role }) => role)).toEqual(['user', 'user', 'assistant', 'user']);
    expect(bodies[2]?.messages[1]?.content[1]).toEqual({ type: 'text', text: 'sun' });
    const history = [
      { role: 'user', content: 'How is the weather?' },
      { role: 'assistant', content: [USE, CALL] },
      { role: 'user', content: [RESULT] },
      { role: 'assistant', content: 'Sun.' },
      { role: 'user', content: 'Thanks' },
      { role: 'assistant', content: 'Sun.' },
      { role: 'user', content: 'Bye' },
    ];
    await runTurn({ ...createBody(''), messages: history });
    expect(answers(bodies)).toBe('Bye');
  });

  test('sends no container id in a fork, and sends the calls as text', async () => {
    const bodies = await callAndAnswer();
    expect(await stubOf().forkConversation('c2', undefined)).toMatchObject({ ok: true });
    await runTurn(createBody([RESULT]), { id: 'c2' });
    expect(containers(bodies)).toEqual([undefined, undefined]);
    expect(answers(bodies)[1]).toEqual({ type: 'text', text: 'sun' });
    expect(await sendTurn(createBody([RESULT]))).toMatchObject({ kind: 'stream' });
    expect(containers(bodies).at(-1)).toBe('container_1');
  });
});

describe('a copied or imported conversation', () => {
  const IDS = { id: 'c2', account: 'dev' };
  const backUp = async (app: TestApp, to: string) => {
    const lines = await (await app.fetch('/accounts/dev/conversations/c1/backup')).text();
    const headers = { 'content-type': 'application/jsonl' };
    const made = await app.fetch(`/accounts/${to}/conversations/c2/backup`, { method: 'PUT', headers, body: lines });
    expect(await made.text()).toContain('"type":"conversation"');
    return { id: 'c2', account: to };
  };
  const copies: [string, (app: TestApp) => Promise<{ id: string; account: string }>][] = [
    ...READ_ROUTES.map((way): (typeof copies)[number] => [
      `as ${way} writes it`,
      async (app) => {
        await importMessages(app, await readRowsBy(app, way, 'c1'), 'c2');
        return IDS;
      },
    ]),
    [
      'by a fork',
      async (app) => {
        expect((await app.post('/conversations/c1/fork', { id: 'c2' })).status).toBe(201);
        return IDS;
      },
    ],
    ['from a backup', (app) => backUp(app, 'dev')],
    ['from a backup, to another account', (app) => backUp(app, 'bob')],
  ];

  test.each(copies)('sends no container id: %s', async (_, copy) => {
    const app = createTestApp(() => Response.json({ input_tokens: 1 }), TOOL_VARS);
    const bodies = answerByScript((_, number) => (number === 1 ? waits({ container: CONTAINER }) : textAnswer('Sun.')));
    await runTurn(asked(own), { account: 'dev' });
    const at = await copy(app);
    const answer = await sendTurn(createBody([RESULT, { type: 'text', text: 'So?' }]), at);
    const told = answer.kind === 'stream' ? answer : await sendTurn(createBody('So?'), at);
    expect(told.kind).toBe('stream');
    expect(containers(bodies)).toEqual([undefined, undefined]);
    expect(JSON.stringify(bodies[1])).not.toContain('container_1');
  });
});

test('waiting code is sent only to the upstream that has its container, and later turns to any upstream', async () => {
  const asks: { host: string; container: unknown }[] = [];
  let isBusy = true;
  installTwoUpstreams((host, { container, model }) => {
    asks.push({ host, container });
    const isFirst = asks.length === 1;
    if (!isFirst && isBusy && host === asks[0]?.host) return createErrorResponse(529, 'overloaded_error', 'Overloaded');
    const { content, ...more } = isFirst ? waits({ container: CONTAINER }) : container ? ran() : textAnswer('Sun.');
    const message = { id: `msg_${asks.length}`, type: 'message', role: 'assistant', model, content };
    return sseResponse(
      createMessageEventStream({
        ...message,
        stop_reason: 'end_turn',
        usage: { input_tokens: 9, output_tokens: 9 },
        ...more,
      }),
    );
  });
  const calls = answerTools(() => new Response('sun'));
  const { text } = await runTurn(asked(weatherTool({ once: true })));
  expect(text).toContain(': sluice-paused=upstream');
  const first = asks[0]?.host;
  expect(asks.slice(1).every(({ host, container }) => host === first && container === 'container_1')).toBe(true);
  isBusy = false;
  expect(textOfDeltas((await runTurn({ ...asked(weatherTool({ once: true })), messages: [] })).events)).toBe('Sun.');
  expect(asks.at(-1)).toEqual({ host: first, container: 'container_1' });
  expect(calls).toHaveLength(1);
  isBusy = true;
  await runTurn(createBody('Thanks'));
  expect(asks.at(-1)?.host).not.toBe(first);
  expect(asks.at(-1)?.container).toBeUndefined();
});
