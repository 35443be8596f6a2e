import fc from 'fast-check';
import { expect, test } from 'vitest';
import { redactAnswer } from '#edge/conversations/views/redact-answer.ts';
import { parseMemberTexts, splitArrayItems } from '#edge/kit/json/edit.ts';
import { findLoneSurrogatePath, replaceLoneSurrogates } from '#edge/kit/json/lone-surrogates.ts';
import { createTestApp } from '#test/support/app.ts';
import { installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { arbitraryObjectTexts, toOneLine } from '#test/support/json-texts.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { answerTools, TOOL_URL, TOOL_VARS, weatherTool } from '#test/support/scripted-runs.ts';
import { blockEnd, contentBlock, messageEnd, messageStart, sseResponse, textBlock } from '#test/support/wire.ts';

const MCP_URL = 'https://tools.example.com/mcp';
const HOOK = 'https://hooks.example.com/turns';
const VARS = {
  ...TOOL_VARS,
  DELIVERY_SIGNING_SECRET: `whsec_${btoa('the secret of the deliveries 123')}`,
  TURN_DELIVER_URL: HOOK,
};
/** How many cases go through one conversation: each is a call of one answer. */
const TOGETHER = 20;
/** What asks a person, what is called at once, and what an MCP server has. */
const TOOLS = ['pay', 'look', 'far_find'];
const STORED = {
  tools: [weatherTool({ approval: 'always' }, 'pay'), weatherTool({}, 'look'), { name: 'far', run: { mcp: MCP_URL } }],
};
const toolOf = (index: number) => TOOLS[index % TOOLS.length] ?? '';

interface Case {
  input: string;
  result: string;
  /** Where its deltas are cut. */
  cut: number;
}

const cases = fc.array(fc.record({ input: arbitraryObjectTexts, result: arbitraryObjectTexts, cut: fc.nat(40) }), {
  minLength: TOGETHER,
  maxLength: TOGETHER,
});

const member = (json: string, ...path: (string | number)[]) =>
  path.reduce<string>(
    (text, step) => (typeof step === 'number' ? splitArrayItems(text)[step] : parseMemberTexts(text).get(step)) ?? '',
    json,
  );

/** @returns the inputs that JSON texts of messages have, by the ids of their calls */
function inputsIn(messages: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const message of messages) {
    const content = member(message, 'content');
    for (const one of content.startsWith('[') ? splitArrayItems(content) : []) {
      const block = parseMemberTexts(one);
      if (/tool_use"$/.test(block.get('type') ?? ''))
        found.set(JSON.parse(block.get('id') ?? ''), block.get('input') ?? '');
    }
  }
  return found;
}

const idOf = (index: number) => `toolu_${index}`;
const inputsOf = (all: readonly Case[]) => new Map(all.map(({ input }, index) => [idOf(index), toOneLine(input)]));
/** The same inputs as they are sent to the API, which rejects half of a character. */
const asSent = (inputs: ReadonlyMap<string, string>) =>
  new Map([...inputs].map(([id, input]) => [id, replaceLoneSurrogates(input)]));

/** The stream of an answer that makes all calls. */
const callingAll = (all: readonly Case[], nameOf: (index: number) => string) =>
  messageStart() +
  all
    .map(({ input, cut }, index) =>
      contentBlock(
        { type: 'tool_use', id: idOf(index), name: nameOf(index), input: {} },
        [input.slice(0, cut), input.slice(cut)].map((partial_json) => ({ type: 'input_json_delta', partial_json })),
        index,
      ),
    )
    .join('') +
  messageEnd({ output_tokens: 10 }, 'tool_use');

const DONE = messageStart({ id: 'msg_2' }) + textBlock(['Done.']) + messageEnd();
const ENTRY = { model: 'claude-opus-5-5', max_tokens: 500 };
const user = (content: unknown) => ({ role: 'user', content });

const JSON_TYPE = { headers: { 'content-type': 'application/json' } };

/** A Claude API, a server of tools over HTTP and MCP, and a receiver of events. All see and say texts. */
async function world() {
  installSimulator(VARS);
  const now = {
    all: [] as readonly Case[],
    /** The bodies that have gone up. */
    up: [] as string[],
    /** The inputs that tools have got, by their calls. */
    made: new Map<string, string>(),
    events: [] as string[],
    /** @returns the answer of the Claude API */
    answer: (): Response => sseResponse(now.up.length === 1 ? callingAll(now.all, toolOf) : DONE),
  };
  setConversationUpstream(async (_, init) => {
    now.up.push(await new Response(init.body as BodyInit).text());
    return now.answer();
  });
  const resultOf = (id: string) => now.all[Number(id.replace(/\D/g, ''))]?.result;
  answerTools(({ url, text, body }) => {
    if (url === HOOK) now.events.push(text);
    if (url === TOOL_URL) {
      now.made.set(String(body.tool_use_id), member(text, 'input'));
      return new Response(resultOf(String(body.tool_use_id)));
    }
    if (body.id === undefined) return new Response(null, { status: 202 });
    const told = (result: string) => new Response(`{"jsonrpc":"2.0","id":${body.id},"result":${result}}`, JSON_TYPE);
    if (body.method === 'initialize') return told('{"protocolVersion":"2025-11-25","capabilities":{}}');
    if (body.method === 'tools/list') return told('{"tools":[{"name":"find","inputSchema":{"type":"object"}}]}');
    const called = /toolu_\d+/.exec(member(text, 'params', '_meta'))?.[0] ?? '';
    now.made.set(called, member(text, 'params', 'arguments'));
    return told(`{ "content": [], "structuredContent": ${resultOf(called)} }`);
  });
  const app = createTestApp(() => Response.json({ input_tokens: 1 }), VARS);
  const put = { method: 'PUT', body: JSON.stringify(STORED), ...JSON_TYPE };
  expect((await app.fetch('/prefixes/calls', put)).ok).toBe(true);
  const begin = (all: readonly Case[]) => Object.assign(now, { all, up: [], made: new Map(), events: [] });
  const text = async (path: string) => await (await app.fetch(path)).text();
  return { app, now, begin, text };
}

/** @returns the inputs of the calls in all messages of a conversation */
const storedInputs = async (text: (path: string) => Promise<string>, id: string, query = '') =>
  inputsIn(splitArrayItems(member(await text(`/conversations/${id}/messages?limit=1000${query}`), 'data')));

test('inputs and results keep their exact text in streams, calls, approvals, events, storage, requests and copies', async () => {
  const { app, now, begin, text } = await world();
  let number = 0;
  await tryAsyncCases(caseCount(500, 0.15), cases, async (all) => {
    number += 1;
    const id = `c${number}`;
    begin(all);
    const wanted = inputsOf(all);
    const of = (name: string) => [...wanted].filter((_, index) => toolOf(index) === name);

    const asked = { conversation: id, ...ENTRY, prefix: 'calls', messages: [user('Go.')], stream: true };
    const stream = await (await app.post('/messages', asked)).text();
    const blocks = [...stream.matchAll(/^data: ([^\n]*)$/gm)].map(([, data = '']) => member(data, 'content_block'));
    expect(inputsIn([`{"content":[${blocks.filter(Boolean)}]}`])).toEqual(wanted);
    expect(now.made).toEqual(new Map([...of('look'), ...of('far_find')]));

    const listed = splitArrayItems(member(await text(`/conversations/${id}/approvals`), 'data'));
    await eventually(() => expect(now.events).toHaveLength(1));
    for (const approvals of [listed, splitArrayItems(member(now.events[0] ?? '', 'approvals'))]) {
      const told = approvals.map((one) => [JSON.parse(member(one, 'tool_use_id')), member(one, 'input')]);
      expect(told).toEqual(of('pay'));
      expect(approvals.map((one) => JSON.parse(member(one, 'input_text')))).toEqual(told.map(([, input]) => input));
    }
    // Of three people one writes the input anew, in one of two ways.
    const calledWith = new Map(wanted);
    let turn = '';
    for (const [index, one] of listed.entries()) {
      const { id: approval, tool_use_id = '' } = JSON.parse(one) as Record<string, string>;
      const changed = all[index]?.result ?? '';
      const [decision, now = changed] = [
        ['{"decision":"approve"}', wanted.get(tool_use_id)],
        [JSON.stringify({ decision: 'approve', input_text: changed })],
        ['{"decision":"approve","input":{ "order": 2512292042121000001 }}', '{ "order": 2512292042121000001 }'],
      ][index % 3] ?? [''];
      calledWith.set(tool_use_id, toOneLine(now));
      const decided = await app.post(`/conversations/${id}/approvals/${approval}`, decision);
      expect(decided.status).toBe(index === listed.length - 1 ? 202 : 200);
      turn = decided.headers.get('sluice-turn') ?? '';
    }
    const turnText = async (turn: string) => await text(`/conversations/${id}/turns/${turn}`);
    await eventually(async () => expect(await turnText(turn)).toContain('"status":"complete","paused":null'));
    expect(now.made).toEqual(calledWith);
    const report = await turnText(JSON.parse(member(listed[0] ?? '', 'turn')));
    const reported = splitArrayItems(member(report, 'steps', 0, 'calls'));
    expect(new Map(reported.map((one) => [JSON.parse(member(one, 'id')), member(one, 'input')]))).toEqual(wanted);
    expect(reported.map((one) => member(one, 'approval', 'changed_input')).filter((one) => /^[^n]/.test(one))).toEqual(
      [...calledWith].filter(([name, input]) => input !== wanted.get(name)).map(([, input]) => input),
    );

    // What goes up: the calls, and their results.
    const sent = splitArrayItems(member(now.up[1] ?? '', 'messages'));
    expect(inputsIn(sent)).toEqual(asSent(wanted));
    for (const told of splitArrayItems(member(sent.at(-1) ?? '', 'content'))) {
      const { tool_use_id, content } = JSON.parse(told) as {
        tool_use_id: string;
        content: string | { text: string }[];
      };
      const own = all[Number(tool_use_id.slice(6))]?.result ?? '';
      if (typeof content === 'string') expect(content.endsWith(own)).toBe(true);
      else expect(content.map((one) => one.text).join('')).toBe(toOneLine(own));
    }

    // What is stored, and what is made of it.
    const rows = member(await text(`/conversations/${id}/messages?limit=1000`), 'data');
    const shown = member(await text(`/conversations/${id}/messages?limit=1000&view=shown`), 'data');
    const exported = (await text(`/conversations/${id}/export`)).split('\n');
    for (const messages of [
      splitArrayItems(rows),
      splitArrayItems(shown),
      exported.filter((line) => line.includes('"content"')),
    ]) {
      expect(inputsIn(messages)).toEqual(wanted);
    }
    const importing = (name: string, messages: string) =>
      app.post('/conversations', `{"id":"${name}","model":"${ENTRY.model}","max_tokens":500,"messages":${messages}}`);
    for (const [name, messages] of Object.entries({ rows, shown })) {
      const sendable = replaceLoneSurrogates(messages);
      // A member that a later one of the same name replaces is not checked, and its text is only made sendable.
      if (findLoneSurrogatePath(JSON.parse(messages)) !== undefined) {
        const rejected = await importing(`${id}-${name}`, messages);
        expect([rejected.status, await rejected.text()]).toEqual([400, expect.stringContaining('half of a character')]);
      }
      expect((await importing(`${id}-${name}`, sendable)).status).toBe(201);
    }
    expect((await app.post(`/conversations/${id}/fork`, { id: `${id}-fork` })).status).toBe(201);
    const backup = await text(`/accounts/dev/conversations/${id}/backup`);
    const restored = await app.fetch(`/accounts/dev/conversations/${id}-backup/backup`, {
      method: 'PUT',
      body: backup,
      headers: { 'content-type': 'application/jsonl' },
    });
    expect([restored.status, restored.ok ? '' : await restored.text()]).toEqual([201, '']);
    for (const copy of ['rows', 'shown']) {
      expect([copy, await storedInputs(text, `${id}-${copy}`)]).toEqual([copy, asSent(wanted)]);
    }
    for (const copy of ['fork', 'backup']) {
      expect([copy, await storedInputs(text, `${id}-${copy}`)]).toEqual([copy, wanted]);
    }
    await app.waitUntilSettled();
  });
});

/** How the Claude API, or a gateway, can say the same answer. */
const WAYS: Record<string, (all: readonly Case[]) => Response> = {
  'in deltas': (all) => sseResponse(callingAll(all, () => 'own')),
  'with whole inputs in a stream': (all) =>
    sseResponse(
      messageStart() +
        all.map(({ input }, index) => wholeBlock(toOneLine(input), index)).join('') +
        messageEnd({}, 'tool_use'),
    ),
  'as one message': (all) =>
    new Response(
      `{"type":"message","id":"msg_1","role":"assistant","model":"${ENTRY.model}","content":[${all.map(({ input }, index) => callText(input, index))}],"stop_reason":"tool_use","usage":{"input_tokens":9,"output_tokens":9}}`,
      JSON_TYPE,
    ),
};
const callText = (input: string, index: number) =>
  `{"type":"tool_use","id":"${idOf(index)}","name":"own","input":${input}}`;
const wholeBlock = (input: string, index: number) =>
  `event: content_block_start\ndata: {"type":"content_block_start","index":${index},"content_block":${callText(input, index)}}\n\n${blockEnd(index)}`;
/** How it is asked for. */
const ASKED = [{ stream: true }, { stream: false }, { stream: false, show: 'text' }, { background: true }];

/** @returns the inputs that an answer tells its caller, whole or in a stream */
function inputsTold(answer: string): Map<string, string> {
  if (answer.startsWith('{')) return inputsIn([answer]);
  const data = [...answer.matchAll(/^data: ([^\n]*)$/gm)].map(([, text = '']) => text);
  const told = inputsIn([`{"content":[${data.map((text) => member(text, 'content_block')).filter(Boolean)}]}`]);
  const deltas = data.map((text) => JSON.parse(text)).filter(({ delta }) => delta?.partial_json !== undefined);
  for (const [id, of] of Map.groupBy(deltas, ({ index }) => idOf(index))) {
    told.set(id, toOneLine(of.map(({ delta }) => delta.partial_json).join('')));
  }
  return told;
}

/** @returns the same answer for a caller who does not see what tools of the edge are given */
function hidden(answer: string): string {
  const call = { turn: 'turn_1', headers: {} };
  const trailer = {} as never;
  const shown = redactAnswer(
    answer.startsWith('{')
      ? { ...call, kind: 'response', status: 200, body: answer, trailer }
      : { ...call, kind: 'complete_stream', events: answer, trailer },
    true,
  );
  if (shown.kind !== 'response' && shown.kind !== 'complete_stream') throw new Error(shown.kind);
  return shown.kind === 'response' ? shown.body : shown.events;
}

test.each(Object.keys(WAYS))(
  'a response that arrives %s has the same inputs however it is requested, repeated, stored and sent again',
  async (way) => {
    const { app, now, begin, text } = await world();
    let number = 0;
    await tryAsyncCases(caseCount(20, 0.25), cases, async (all) => {
      const wanted = inputsOf(all);
      for (const how of ASKED) {
        number += 1;
        const id = `c${number}`;
        begin(all);
        now.answer = () => (now.up.length === 1 ? (WAYS[way] as (typeof WAYS)[string])(all) : sseResponse(DONE));
        const own = { name: 'own', input_schema: { type: 'object' } };
        const asked = { conversation: id, ...ENTRY, tools: [own], messages: [user('Go.')], ...how };
        const ask = async () =>
          await (await app.post('/messages', asked, { 'idempotency-key': `key-${number}` })).text();
        for (const answer of [await ask(), await ask()]) {
          if (how.background) continue;
          expect(inputsTold(answer)).toEqual(wanted);
          expect(inputsTold(hidden(answer))).toEqual(wanted);
        }
        if (how.background) {
          await eventually(() => expect(now.events).toHaveLength(1));
          expect(inputsIn([member(now.events[0] ?? '', 'message')])).toEqual(wanted);
        }
        expect(await storedInputs(text, id)).toEqual(wanted);
        const content = all.map((_, index) => ({ type: 'tool_result', tool_use_id: idOf(index), content: 'ok' }));
        await (await app.post('/messages', { conversation: id, messages: [user(content)], stream: true })).text();
        expect(inputsIn(splitArrayItems(member(now.up[1] ?? '', 'messages')))).toEqual(asSent(wanted));
        await app.waitUntilSettled();
      }
    });
  },
);
