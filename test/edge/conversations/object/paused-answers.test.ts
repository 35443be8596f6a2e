import { abortAllDurableObjects } from 'cloudflare:test';
import { describe, expect, test } from 'vitest';
import { createClient } from '#client/index.ts';
import { encoder } from '#edge/kit/http/bytes.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { readStoredLog } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { authorizationFor, createSimulatedEdge, type SimulatedEdge } from '#test/support/prefixes.ts';
import { type AskedBody, answerByScript, type ScriptedAnswer, textAnswer } from '#test/support/scripted-runs.ts';
import { createErrorResponse } from '#test/support/wire.ts';

const ASKED = { model: 'claude-opus-5-5', max_tokens: 64, conversation: 'c1' };
const search = (id: string): JsonObject => ({
  type: 'server_tool_use',
  id,
  name: 'web_search',
  input: { query: 'rain' },
});
const found = (id: string): JsonObject => ({ type: 'web_search_tool_result', tool_use_id: id, content: [] });
const text = (words: string): JsonObject => ({ type: 'text', text: words });
const pauses = (...content: JsonObject[]): ScriptedAnswer => ({ content, stop_reason: 'pause_turn' });

/** A Claude API that refuses a call without a result, unless it stands at the end: then it goes on with it. */
function strictApi(script: (body: AskedBody, number: number) => ScriptedAnswer | Response): AskedBody[] {
  return answerByScript((body, number) => {
    const { messages } = body;
    const blocks = messages.flatMap(({ role, content }, at) =>
      Array.isArray(content)
        ? content.map((block) => ({ ...block, isLast: role === 'assistant' && at === messages.length - 1 }))
        : [],
    ) as (JsonObject & { isLast: boolean })[];
    const results = new Set(blocks.map(({ tool_use_id }) => tool_use_id));
    const open = blocks.find(({ type, id, isLast }) => type === 'server_tool_use' && !isLast && !results.has(id));
    if (open) {
      const words = `messages: \`web_search\` tool use with id ${String(open.id)} was found without a corresponding \`web_search_tool_result\` block`;
      return createErrorResponse(400, 'invalid_request_error', words);
    }
    return script(body, number);
  });
}

async function edge() {
  const app = createSimulatedEdge();
  const headers = await authorizationFor('alice', 'messages');
  const ask = async (...messages: object[]) => {
    const response = await app.post('/v1/messages', { ...ASKED, messages }, headers);
    const body = (await response.json()) as JsonObject;
    await app.waitUntilSettled();
    return { status: response.status, body };
  };
  return { app, headers, ask };
}

const question = (content: string) => ({ role: 'user', content });

async function rowsOf(app: SimulatedEdge, headers: Record<string, string>) {
  const response = await app.fetch('/conversations/c1/messages', { headers });
  return ((await response.json()) as { data: { role: string; content: unknown; cost_usd: number | null }[] }).data;
}

/** The messages that went up last, by their roles and the types or texts of their blocks. */
const lastUp = (bodies: readonly AskedBody[]) =>
  bodies
    .at(-1)
    ?.messages.map(({ role, content }) => [
      role,
      ...(typeof content === 'string' ? [content] : content.map((block) => block.text ?? block.type)),
    ]);

test('the client sends a paused response back, and the history has all parts that the client shows', async () => {
  const { app, headers, ask } = await edge();
  const bodies = strictApi((_, number) => {
    if (number === 1) return pauses(text('Let me look.'), search('srvtoolu_1'));
    return number === 2
      ? pauses(found('srvtoolu_1'), search('srvtoolu_2'))
      : { content: [found('srvtoolu_2'), text('Dry.')] };
  });
  const client = createClient({
    baseURL: 'https://edge.test',
    headers,
    fetch: (url, init) => app.fetch(url.replace('https://edge.test', ''), init),
  });
  const stream = client.messages.stream({ ...ASKED, messages: [{ role: 'user', content: 'Rain?' }] });
  expect(await stream.finalMessage()).toMatchObject({
    content: [
      text('Let me look.'),
      search('srvtoolu_1'),
      found('srvtoolu_1'),
      search('srvtoolu_2'),
      found('srvtoolu_2'),
      text('Dry.'),
    ],
    stop_reason: 'end_turn',
    usage: { input_tokens: 300, output_tokens: 30 },
  });
  await app.waitUntilSettled();
  expect(bodies).toHaveLength(3);
  const rows = await rowsOf(app, headers);
  expect(rows.map(({ role }) => role)).toEqual(['user', 'assistant', 'assistant', 'assistant']);
  expect(rows.reduce((sum, { cost_usd }) => sum + (cost_usd ?? 0), 0)).toBeCloseTo(stream.costUsd ?? Number.NaN, 9);
  expect(await ask(question('Thanks'))).toMatchObject({ status: 200 });
});

describe('a new question after a response that the API paused', () => {
  test('is sent in one request without the call that has no result, and so are later questions', async () => {
    const { app, headers, ask } = await edge();
    const bodies = strictApi((_, number) =>
      number === 1
        ? pauses(text('Let me look.'), search('srvtoolu_1'), found('srvtoolu_1'), search('srvtoolu_2'))
        : textAnswer('Yes.'),
    );
    const shown = (await ask(question('Rain?'))).body.content;
    expect(await ask(question('And snow?'))).toMatchObject({ status: 200, body: { content: [text('Yes.')] } });
    expect(bodies).toHaveLength(2);
    const kept = ['assistant', 'Let me look.', 'server_tool_use', 'web_search_tool_result'];
    expect(lastUp(bodies)).toEqual([['user', 'Rain?'], kept, ['user', 'And snow?']]);
    // A client that resends all that it has seen goes on, too.
    const again = [question('Rain?'), { role: 'assistant', content: shown }, question('And snow?')];
    expect(await ask(...again, { role: 'assistant', content: 'Yes.' }, question('And hail?'))).toMatchObject({
      status: 200,
    });
    expect(lastUp(bodies)?.[1]).toEqual(kept);
    const rows = await rowsOf(app, headers);
    expect(rows.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant', 'user', 'assistant']);
    // What does not go up is shown as before.
    expect(JSON.stringify(rows)).toContain('srvtoolu_2');
  });

  test('is sent if nothing of the paused response remains', async () => {
    const { app, headers, ask } = await edge();
    const bodies = strictApi((_, number) => (number <= 2 ? pauses(search(`srvtoolu_${number}`)) : textAnswer('Yes.')));
    const { body } = await ask(question('Rain?'));
    await ask({ role: 'assistant', content: body.content });
    expect(await ask(question('And snow?'))).toMatchObject({ status: 200 });
    expect(lastUp(bodies)).toEqual([
      ['user', 'Rain?'],
      ['user', 'And snow?'],
    ]);
    const response = await app.fetch('/conversations/c1', { headers });
    expect(await response.json()).toMatchObject({ messages: 5 });
    expect(await rowsOf(app, headers)).toHaveLength(5);
  });

  test('lets the paused response continue if the API rejects the question', async () => {
    const { app, headers, ask } = await edge();
    const bodies = strictApi((_, number) => {
      if (number === 1) return pauses(text('Let me look.'), search('srvtoolu_1'));
      return number === 2
        ? createErrorResponse(400, 'invalid_request_error', 'No.')
        : { content: [found('srvtoolu_1'), text('Dry.')] };
    });
    const { body } = await ask(question('Rain?'));
    expect(await ask(question('And snow?'))).toMatchObject({ status: 400 });
    expect(await ask({ role: 'assistant', content: body.content })).toMatchObject({ status: 200 });
    expect(lastUp(bodies)).toEqual([
      ['user', 'Rain?'],
      ['assistant', 'Let me look.', 'server_tool_use'],
    ]);
    expect(JSON.stringify(await rowsOf(app, headers))).toContain('srvtoolu_1');
    expect(await ask(question('Thanks'))).toMatchObject({ status: 200 });
  });

  test('leaves a history that the API accepts if the object dies before the response', async () => {
    const { app, headers, ask } = await edge();
    const bodies = strictApi((_, number) => {
      if (number === 1) return pauses(text('Let me look.'), search('srvtoolu_1'));
      if (number > 2) return textAnswer('Yes.');
      const begins = (all: string) => encoder.encode(all.slice(0, all.indexOf('event: content_block_stop')));
      // It never ends.
      const change = (all: string) =>
        new ReadableStream({ type: 'bytes', start: (stream) => stream.enqueue(begins(all)) });
      return { ...textAnswer('It '), change };
    });
    await ask(question('Rain?'));
    const dying = app.post('/v1/messages', { ...ASKED, stream: true, messages: [question('And snow?')] }, headers);
    const reader = ((await dying).body as ReadableStream<Uint8Array>).getReader();
    await eventually(async () => expect(await readStoredLog('c1', 'alice')).toContain('It '));
    await abortAllDurableObjects();
    while (!(await reader.read()).done);
    await app.waitUntilSettled();
    await eventually(async () => expect(await ask(question('And hail?'))).toMatchObject({ status: 200 }));
    const rows = JSON.stringify(await rowsOf(app, headers));
    expect(rows).toContain('And snow?');
    expect(JSON.stringify(lastUp(bodies))).not.toContain('server_tool_use');
  });
});
