/** Whatever the API rejects of what it has accepted before, in whatever words: the next question is answered. */
import { abortAllDurableObjects } from 'cloudflare:test';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { bindings, listMessages, readConversation, waitUntilAtRest } from '#test/support/conversations.ts';
import { HALF } from '#test/support/half-characters.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import {
  type AskedBody,
  answerByScript,
  answerTools,
  callsAnswer,
  installTwoUpstreams,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createBody, readStream, runTurn, sendTurn, textOfDeltas } from '#test/support/turns.ts';
import { createErrorResponse, messageWith, sseEvent, sseResponse } from '#test/support/wire.ts';

const STATUSES = [400, 404, 413, 422] as const;
type Status = (typeof STATUSES)[number];
const TYPE: Record<Status, string> = {
  400: 'invalid_request_error',
  404: 'not_found_error',
  413: 'request_too_large',
  422: 'invalid_request_error',
};
/** What one answer of these tests costs. */
const ANSWER_USD = 100 * 4e-6 + 10 * 20e-6;

/** Blocks of a question or an answer. Each contains its mark, by which the API of these tests rejects it. */
const OF_QUESTIONS = {
  text: (mark: string) => [{ type: 'text', text: `Look: ${mark}` }],
  'image by URL': (mark: string) => [
    { type: 'image', source: { type: 'url', url: `https://img.example.com/${mark}` } },
  ],
  'document by URL': (mark: string) => [
    { type: 'document', source: { type: 'url', url: `https://docs.example.com/${mark}` } },
  ],
  'image by file': (mark: string) => [{ type: 'image', source: { type: 'file', file_id: `file_${mark}` } }],
  'document by file': (mark: string) => [{ type: 'document', source: { type: 'file', file_id: `file_${mark}` } }],
  image: (mark: string) => [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: mark } }],
  document: (mark: string) => [
    { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: mark } },
  ],
} as const;
const OF_ANSWERS = {
  text: (mark: string) => [{ type: 'text', text: `I see ${mark}.` }],
  thinking: (mark: string) => [
    { type: 'thinking', thinking: 'Hm.', signature: mark },
    { type: 'text', text: 'So.' },
  ],
  'redacted thinking': (mark: string) => [
    { type: 'redacted_thinking', data: mark },
    { type: 'text', text: 'So.' },
  ],
  'cited text': (mark: string) => [
    { type: 'text', text: 'As found.', citations: [{ type: 'web_search_result_location', encrypted_index: mark }] },
  ],
  search: (mark: string) => [
    { type: 'server_tool_use', id: `srvtoolu_${mark}`, name: 'web_search', input: { query: 'Bern' } },
    {
      type: 'web_search_tool_result',
      tool_use_id: `srvtoolu_${mark}`,
      content: [
        { type: 'web_search_result', url: 'https://example.com', title: 'Bern', encrypted_content: `enc${mark}` },
      ],
    },
  ],
  'MCP call': (mark: string) => [
    { type: 'mcp_tool_use', id: `mcptoolu_${mark}`, name: 'find', server_name: 'wiki', input: {} },
    {
      ...{ type: 'mcp_tool_result', tool_use_id: `mcptoolu_${mark}`, is_error: false },
      content: [{ type: 'text', text: `enc${mark}` }],
    },
  ],
} as const;
/** What a client's tool returns. */
const OF_RESULTS = {
  'result in words': (mark: string) => `It is ${mark}.`,
  'result with a text': (mark: string) => [{ type: 'text', text: `It is ${mark}.` }],
  'result with an image': (mark: string) => OF_QUESTIONS.image(mark),
  'result with an image by URL': (mark: string) => OF_QUESTIONS['image by URL'](mark),
  'result with a document by file': (mark: string) => OF_QUESTIONS['document by file'](mark),
} as const;
type Kind = keyof typeof OF_QUESTIONS | keyof typeof OF_ANSWERS | keyof typeof OF_RESULTS | 'call';

interface Made {
  kind: Kind;
  mark: string;
  isBad: boolean;
}

const markOf = (number: number) => `bl0ck${number}x`;
const contains = (value: unknown, { kind, mark }: Made) =>
  JSON.stringify(value).includes(kind === 'search' || kind === 'MCP call' ? `enc${mark}` : mark);

/** How the API names the block that it rejects. */
const WAYS_OF_NAMING = {
  dots: (at: number, block: number) => `messages.${at}.content.${block}: `,
  brackets: (at: number, block: number) => `$.messages[${at}].content[${block}]: `,
  slashes: (at: number, block: number) => `/messages/${at}/content/${block} `,
  deep: (at: number, block: number) => `messages.${at}.content.${block}.image.source.url: `,
} as const;
type Naming = keyof typeof WAYS_OF_NAMING | 'URL or file' | 'none';

/** @returns where a body has a block; undefined if it has it not */
function placeOf({ messages }: AskedBody, made: Made): { at: number; block: number } | undefined {
  for (const [at, { content }] of messages.entries()) {
    const block = Array.isArray(content) ? content.findLastIndex((one) => contains(one, made)) : -1;
    if (block >= 0) return { at, block };
    if (!Array.isArray(content) && contains(content, made)) return { at, block: 0 };
  }
  return undefined;
}

/** @returns what the API says to a body; undefined if it accepts it */
function rejectionOf(
  body: AskedBody,
  bad: readonly Made[],
  { naming, words, status }: Rejecting,
): Response | undefined {
  const found = bad.flatMap((made) => placeOf(body, made) ?? []);
  const [first] = found;
  if (!first) return undefined;
  const { at, block } = first;
  const url = JSON.stringify(body.messages[at]?.content)
    .match(/(?:https:\/\/[a-z.]+\/|file_)bl0ck\d+x/g)
    ?.find((one) => bad.some(({ mark }) => one.endsWith(mark)));
  const name =
    naming === 'none'
      ? ''
      : naming === 'URL or file'
        ? (url ?? WAYS_OF_NAMING.dots(at, block))
        : WAYS_OF_NAMING[naming](at, block);
  return createErrorResponse(status, TYPE[status], `${name}${words}`);
}

const { run: _, ...OWN_TOOL } = weatherTool({}, 'own');

interface Rejecting {
  naming: Naming;
  words: string;
  status: Status;
}

const words = fc.lorem({ maxCount: 8 });
const rejecting = fc.record({
  naming: fc.constantFrom<Naming>('dots', 'brackets', 'slashes', 'deep', 'URL or file', 'none'),
  words,
  status: fc.constantFrom(...STATUSES),
});
const kindOfQuestion = fc.constantFrom(...(Object.keys(OF_QUESTIONS) as (keyof typeof OF_QUESTIONS)[]));
const kindOfAnswer = fc.constantFrom(...(Object.keys(OF_ANSWERS) as (keyof typeof OF_ANSWERS)[]));
const round = fc.record({
  question: fc.array(fc.record({ kind: kindOfQuestion, isBad: fc.boolean() }), { minLength: 1, maxLength: 3 }),
  answer: fc.array(fc.record({ kind: kindOfAnswer, isBad: fc.boolean() }), { minLength: 1, maxLength: 2 }),
  calls: fc.array(
    fc.record({
      call: fc.record({ kind: fc.constant('call' as const), isBad: fc.boolean() }),
      result: fc.record({
        kind: fc.constantFrom(...(Object.keys(OF_RESULTS) as (keyof typeof OF_RESULTS)[])),
        isBad: fc.boolean(),
      }),
    }),
    { maxLength: 2 },
  ),
});
type Round = typeof round extends fc.Arbitrary<infer Value> ? Value : never;

/** A question and its answer, as blocks. */
interface Exchange {
  question: JsonObject[];
  answer: JsonObject[];
}

/** @returns the exchanges of rounds: the results of calls are a question of their own; and all blocks with a mark */
function planExchanges(rounds: readonly Round[], naming: Naming): { exchanges: Exchange[]; all: Made[] } {
  const all: Made[] = [];
  const mark = ({ kind, isBad }: Pick<Made, 'kind' | 'isBad'>) => {
    // Where nothing is named, text can not be what the API no longer reads.
    const made = { kind, mark: markOf(all.length + 1), isBad: isBad && (naming !== 'none' || kind !== 'text') };
    all.push(made);
    return made.mark;
  };
  const exchanges = rounds.flatMap(({ question, answer, calls }) => {
    const asked = question.flatMap((one): readonly JsonObject[] => OF_QUESTIONS[one.kind](mark(one)));
    const answered = answer.flatMap((one): readonly JsonObject[] => OF_ANSWERS[one.kind](mark(one)));
    const made = calls.map(({ call, result }, at) => {
      const id = `toolu_${all.length}_${at}`;
      return {
        call: { type: 'tool_use', id, name: 'own', input: { city: mark(call) } },
        result: { type: 'tool_result', tool_use_id: id, content: OF_RESULTS[result.kind](mark(result)) },
      };
    });
    const first = { question: asked, answer: [...answered, ...made.map(({ call }) => call)] };
    const results = { question: made.map(({ result }) => result), answer: textAnswer('Sun.').content };
    return calls.length > 0 ? [first, results] : [first];
  });
  return { exchanges, all };
}

/** Asks until the conversation answers. @returns how many questions were rejected; undefined if more than `most` were */
async function askUntilAnswered(id: string, most: number): Promise<number | undefined> {
  for (let rejected = 0; rejected <= most; rejected += 1) {
    const answer = await sendTurn(createBody('And now?'), { id });
    if (answer.kind === 'stream' && textOfDeltas((await readStream(answer.body)).events) === 'Sun.') return rejected;
  }
  return undefined;
}

/** Has the account own the files of these marks. */
async function ownFiles(marks: readonly string[]): Promise<void> {
  const files = marks.map((mark) => ({ kind: 'file' as const, id: `file_${mark}`, upstream: '' }));
  await getAccountStub(bindings, {}, 'alice').recordCreatedResources(files);
}

/** Rejections that are about the deployment's key or money. */
const OF_OPERATOR: [what: string, status: number, type: string, said: string][] = [
  ['the credit', 400, 'invalid_request_error', 'Your credit balance is too low to access the Anthropic API'],
  ['its own limit', 400, 'invalid_request_error', 'You have reached your specified API usage limits'],
  ['the budget of a gateway', 400, 'budget_exceeded', 'Budget has been exceeded! Current cost: 1'],
  ['the key', 401, 'authentication_error', 'invalid x-api-key'],
  ['the bill', 402, 'billing_error', 'Pay first.'],
];

const isExternal = ({ kind }: Made) => / by (?:URL|file)$/.test(kind);

describe('blocks of the history that the API rejects', () => {
  test('are replaced if the error names them, or by a guess, and only accepted requests are charged', async () => {
    let scenario = 0;
    await tryAsyncCases(
      caseCount(120),
      fc.array(round, { minLength: 1, maxLength: 3 }),
      rejecting,
      async (rounds, how) => {
        scenario += 1;
        const id = `c${scenario}`;
        const { exchanges: planned, all } = planExchanges(rounds, how.naming);
        const bad = all.filter(({ isBad }) => isBad);
        await ownFiles(all.map(({ mark }) => mark));
        let accepted = 0;
        let isLater = false;
        const bodies = answerByScript((body) => {
          const rejected = isLater ? rejectionOf(body, bad, how) : undefined;
          if (rejected) return rejected;
          accepted += 1;
          const content = planned[accepted - 1]?.answer ?? textAnswer('Sun.').content;
          return content.some(({ type }) => type === 'tool_use') ? callsAnswer(...content) : { content };
        });
        for (const { question } of planned) await runTurn(createBody(question, { tools: [OWN_TOOL] }), { id });
        const shown = await listMessages(id);
        isLater = true;
        // One question repairs eight blocks that are named one by one.
        const rejected = await askUntilAnswered(id, Math.max(0, Math.ceil(bad.length / 8) - 1));
        expect(rejected).toBeDefined();
        const before = bodies.length;
        expect(before).toBeLessThanOrEqual(planned.length + 9 * ((rejected ?? 0) + 1));
        const { events: next } = await runTurn(createBody('Thanks'), { id });
        expect(textOfDeltas(next)).toBe('Sun.');
        expect(bodies).toHaveLength(before + 1);
        const last = bodies.at(-1) as AskedBody;
        const dropped = all.filter((made) => !contains(last.messages, made) && !made.kind.endsWith('thinking'));
        const unnamed = dropped.filter(({ isBad }) => !isBad);
        if (how.naming !== 'none' && bad.length < 5) expect(unnamed).toEqual([]);
        else if (how.naming !== 'none') expect(unnamed.filter((made) => !isExternal(made))).toEqual([]);
        else if (bad.every(isExternal) && bad.length > 0) {
          // The oldest are guessed first.
          expect(unnamed.filter((made) => !isExternal(made))).toEqual([]);
          const newest = all.lastIndexOf(bad.at(-1) as Made);
          if (before - planned.length <= 4) expect(unnamed.every((made) => all.indexOf(made) < newest)).toBe(true);
        }
        expect(dropped.filter(({ kind }) => kind === 'text' && how.naming === 'none')).toEqual([]);
        if (bad.length === 0) expect(all.filter((made) => !contains(last.messages, made))).toEqual([]);
        expect((await listMessages(id)).slice(0, shown.length).map(({ content }) => content)).toEqual(
          shown.map(({ content }) => content),
        );
        expect((await readConversation(id))?.cost_usd).toBeCloseTo(accepted * ANSWER_USD, 9);
        return undefined;
      },
    );
    await waitUntilAtRest();
  });

  test.each(
    (['dots', 'brackets', 'none'] as const).flatMap((naming) =>
      (['call', 'result'] as const).flatMap((part) => STATUSES.map((status) => [part, naming, status] as const)),
    ),
  )("are replaced if they are the %s of a client's tool (named by: %s, status %i)", async (part, naming, status) => {
    const made: Made = { kind: 'text', mark: markOf(1), isBad: true };
    const call = {
      type: 'tool_use',
      id: 'toolu_1',
      name: 'own',
      input: { city: part === 'call' ? made.mark : 'Bern' },
    };
    const result = { type: 'tool_result', tool_use_id: 'toolu_1', content: part === 'result' ? made.mark : 'sun' };
    let isLater = false;
    const bodies = answerByScript((body, number) => {
      const rejected = isLater ? rejectionOf(body, [made], { naming, words: 'Lorem ipsum.', status }) : undefined;
      return rejected ?? (number === 1 ? callsAnswer(call) : textAnswer('Sun.'));
    });
    await runTurn(createBody('How is the weather?', { tools: [OWN_TOOL] }));
    await runTurn(createBody([result]));
    isLater = true;
    expect(textOfDeltas((await runTurn(createBody('And now?'))).events)).toBe('Sun.');
    expect(textOfDeltas((await runTurn(createBody('Thanks'))).events)).toBe('Sun.');
    expect(bodies.length).toBeLessThanOrEqual(12);
    expect((await readConversation('c1'))?.cost_usd).toBeCloseTo(4 * ANSWER_USD, 9);
  });

  test('are counted in the sluice-history-omitted header', async () => {
    const [image] = OF_QUESTIONS['image by URL']('bl0ck1x');
    answerByScript((body, at) =>
      at > 1 && JSON.stringify(body).includes('bl0ck1x')
        ? createErrorResponse(400, TYPE[400], 'Unable to download the file.')
        : textAnswer('Sun.'),
    );
    await runTurn(createBody([image]));
    const answer = await sendTurn(createBody('And now?'));
    expect(answer).toMatchObject({ kind: 'stream', headers: { 'sluice-history-omitted': '1' } });
    if (answer.kind === 'stream') await new Response(answer.body).text();
  });

  test('are replaced if the stream begins with the rejection', async () => {
    const [image] = OF_QUESTIONS['image by URL']('bl0ck1x');
    const bodies = answerByScript((body, at) =>
      at > 1 && JSON.stringify(body).includes('bl0ck1x')
        ? sseResponse(sseEvent('error', { error: { type: TYPE[400], message: 'Gone.' } }))
        : textAnswer('Sun.'),
    );
    await runTurn(createBody([image]));
    expect(textOfDeltas((await runTurn(createBody('And now?'))).events)).toBe('Sun.');
    expect(JSON.stringify(bodies[2])).toContain('[an image that can no longer be read]');
  });

  test('are all replaced in one turn if dozens have expired', async () => {
    const images = Array.from({ length: 40 }, (_, at) => OF_QUESTIONS['image by URL'](markOf(at))[0]);
    let isLater = false;
    answerByScript((body) => {
      const [mark] = (isLater && JSON.stringify(body).match(/bl0ck\d+x/)) || [];
      return mark === undefined
        ? textAnswer('Sun.')
        : createErrorResponse(400, TYPE[400], `https://img.example.com/${mark} has expired`);
    });
    await runTurn(createBody(images));
    isLater = true;
    expect(textOfDeltas((await runTurn(createBody('And now?'))).events)).toBe('Sun.');
  });

  test("are sent again without thinking to an upstream that rejects another upstream's signature", async () => {
    let isDown = false;
    const bodies: AskedBody[] = [];
    installTwoUpstreams((host, body) => {
      if (host.startsWith('one') && isDown) return createErrorResponse(529, 'overloaded_error', 'Overloaded');
      bodies.push(body);
      const signed = JSON.stringify(body).includes('"signature"');
      if (isDown && signed)
        return createErrorResponse(400, TYPE[400], 'messages.1.content.0: Invalid `signature` in `thinking` block');
      const content = [{ type: 'thinking', thinking: 'Hm.', signature: 'sig' }, ...textAnswer('Sun.').content];
      return sseResponse(createMessageEventStream({ ...messageWith({ content }), model: body.model }));
    });
    await runTurn(createBody('How is the weather?'));
    isDown = true;
    expect(textOfDeltas((await runTurn(createBody('And now?'))).events)).toBe('Sun.');
    expect(bodies).toHaveLength(3);
  });

  test('are sent with the betas that they need, in addition to those of the request', async () => {
    const betas: (string | null)[] = [];
    const served = [
      { type: 'mcp_tool_use', id: 'mcptoolu_1', name: 'find', server_name: 'wiki', input: {} },
      { type: 'mcp_tool_result', tool_use_id: 'mcptoolu_1', is_error: false, content: [] },
    ];
    answerByScript(
      (_, number) => (number === 1 ? { content: [...served, ...textAnswer('Sun.').content] } : textAnswer('Sun.')),
      {
        before: async ({ headers }) => void betas.push(new Headers(headers).get('anthropic-beta')),
      },
    );
    const [own, other] = ['mcp-client-2025-11-20', 'context-1m-2025-08-07'];
    await runTurn(createBody('How is the weather?'), { headers: { 'anthropic-beta': own } });
    await runTurn(createBody('And now?'));
    await runTurn(createBody('Thanks'), { headers: { 'anthropic-beta': other } });
    expect(betas).toEqual([own, own, `${other},${own}`]);
  });

  test('are made well-formed if the model or the caller wrote half a character, also after a restart', async () => {
    const tool = { once: true };
    const answers = [
      callsAnswer(weatherCall('toolu_1', `half ${HALF}`)),
      callsAnswer({ ...weatherCall('toolu_2', 'Bern'), input: { [`key ${HALF}`]: [`deep ${HALF}`] } }),
      textAnswer(`The sun ${HALF} shines.`),
    ];
    const bodies = answerByScript((body, number) =>
      JSON.stringify(body).includes('\\ud83d')
        ? createErrorResponse(400, TYPE[400], 'no low surrogate in string')
        : (answers[number - 1] ?? textAnswer('Sun.')),
    );
    answerTools(() => new Response('sun'));
    await runTurn(createBody(`Half ${HALF}?`, { tools: [weatherTool(tool)], system: `Be brief ${HALF}.` }));
    expect(textOfDeltas((await runTurn(createBody('And now?'))).events)).toBe('Sun.');
    await abortAllDurableObjects();
    expect(textOfDeltas((await runTurn(createBody(`Thanks ${HALF}`))).events)).toBe('Sun.');
    expect(bodies).toHaveLength(5);
    const sent = [...JSON.stringify(bodies.at(-1)).matchAll(/(\w+) \ufffd/g)].map(([, before]) => before);
    expect(sent.toSorted()).toEqual(['Half', 'Thanks', 'brief', 'deep', 'half', 'key', 'sun']);
  });

  test.each<[string, number, string, string]>([
    ...OF_OPERATOR,
    ['a parameter', 400, 'invalid_request_error', 'top_k: Input should be greater than 0'],
    ['a tool', 400, 'invalid_request_error', 'tools.0.custom.input_schema: JSON schema is invalid'],
    ['the model', 404, 'not_found_error', 'model: claude-opus-5-5'],
  ])('are kept if the error is about %s', async (_, status, type, said) => {
    const [image] = OF_QUESTIONS['image by URL']('bl0ck1x');
    const bodies = answerByScript((_, at) => (at === 2 ? createErrorResponse(status, type, said) : textAnswer('Sun.')));
    await runTurn(createBody([image]));
    expect((await sendTurn(createBody('And now?'))).kind).not.toBe('stream');
    expect(bodies).toHaveLength(2);
    expect(textOfDeltas((await runTurn(createBody('And now?'))).events)).toBe('Sun.');
    expect(JSON.stringify(bodies[2])).toContain('bl0ck1x');
  });

  test('are kept if the question itself is rejected with an unknown error', async () => {
    const rounds = Object.values(OF_QUESTIONS).map((make, at) => make(markOf(at)));
    await ownFiles([...rounds.keys()].map(markOf));
    const bodies = answerByScript((body) =>
      JSON.stringify(body.messages.at(-1)).includes('bomb')
        ? createErrorResponse(400, TYPE[400], 'Lorem ipsum.')
        : textAnswer('Sun.'),
    );
    for (const question of rounds) await runTurn(createBody(question));
    expect((await sendTurn(createBody('A bomb?'))).kind).not.toBe('stream');
    expect(bodies.length).toBeLessThanOrEqual(rounds.length + 9);
    await runTurn(createBody('And now?'));
    const last = JSON.stringify(bodies.at(-1));
    for (const at of rounds.keys()) expect(last).toContain(markOf(at));
  });
});

describe('new tool results that the API rejects', () => {
  const PNG = '\x89PNG\r\n\x1a\n';
  const result = fc.record({ text: fc.constantFrom('sun', 'rain '.repeat(400), PNG), isBad: fc.boolean() });
  /** What the API gets of the result of a call: its mark. An image is sent in base64. */
  const markOfResult = (text: string | undefined, at: number) =>
    text === PNG ? btoa(`${PNG} ${markOf(at)}`) : markOf(at);
  const answerWeather = (results: readonly { text: string }[], first = 0) =>
    answerTools(({ body }) => {
      const at = Number((body.input as JsonObject).city);
      const text = results[at - first]?.text;
      if (text !== PNG) return new Response(`${markOf(at)} ${text}`);
      const bytes = Uint8Array.from(`${PNG} ${markOf(at)}`, (one) => one.charCodeAt(0));
      return new Response(bytes, { headers: { 'content-type': 'image/png' } });
    });

  test('are replaced by text; a second rejection ends the run, and the next question is accepted', async () => {
    let scenario = 0;
    await tryAsyncCases(
      caseCount(80),
      fc.array(result, { minLength: 1, maxLength: 3 }),
      rejecting,
      fc.boolean(),
      async (results, how, waits) => {
        scenario += 1;
        const id = `r${scenario}`;
        const bad = results.flatMap(({ text, isBad }, at): Made[] =>
          isBad ? [{ kind: 'text', mark: markOfResult(text, at), isBad }] : [],
        );
        let accepted = 0;
        const bodies = answerByScript((body, number) => {
          if (number === 1) {
            accepted += 1;
            return callsAnswer(...results.map((_, at) => weatherCall(`toolu_${at}`, String(at))));
          }
          const rejected = rejectionOf(body, bad, how);
          if (rejected) return rejected;
          accepted += 1;
          return textAnswer('Sun.');
        });
        const called = answerWeather(results);
        const { events } = await runTurn(
          createBody('How is the weather?', { tools: [weatherTool({ once: true })], ...(waits && { max_turns: 1 }) }),
          { id },
        );
        const isNamed = how.naming !== 'none';
        // A 413 without a path is first about the longest result.
        const isChosen = isNamed ? bad.length < 2 : how.status !== 413;
        if (!waits && isChosen) expect(textOfDeltas(events)).toBe('Sun.');
        if (!waits) expect(bodies.length).toBeLessThanOrEqual(3);
        const { events: next } = await runTurn(createBody('And now?'), { id });
        expect(textOfDeltas(next)).toBe('Sun.');
        const { events: last } = await runTurn(createBody('Thanks'), { id });
        expect(textOfDeltas(last)).toBe('Sun.');
        expect(called).toHaveLength(results.length);
        if (isNamed && (waits || bad.length < 2)) {
          for (const [at, { text, isBad }] of results.entries())
            expect(JSON.stringify(bodies.at(-1)).includes(markOfResult(text, at))).toBe(!isBad);
        }
        expect((await readConversation(id))?.cost_usd).toBeCloseTo(accepted * ANSWER_USD, 9);
        return undefined;
      },
    );
    await waitUntilAtRest();
  });

  test('do not end the conversation if blocks of the history are rejected with them between two steps', async () => {
    let scenario = 0;
    await tryAsyncCases(
      caseCount(80),
      fc.array(result, { minLength: 1, maxLength: 2 }),
      round,
      rejecting,
      async (results, { question, answer }, how) => {
        scenario += 1;
        const id = `m${scenario}`;
        const { exchanges, all } = planExchanges([{ question, answer, calls: [] }], how.naming);
        const ofResults = results.map(
          ({ text, isBad }, at): Made => ({ kind: 'text', mark: markOfResult(text, at + 100), isBad }),
        );
        const bad = [...all, ...ofResults].filter(({ isBad }) => isBad);
        await ownFiles(all.map(({ mark }) => mark));
        let accepted = 0;
        answerByScript((body) => {
          const rejected = accepted > 1 ? rejectionOf(body, bad, how) : undefined;
          if (rejected) return rejected;
          accepted += 1;
          if (accepted === 2)
            return callsAnswer(...results.map((_, at) => weatherCall(`toolu_${at}`, String(at + 100))));
          return { content: exchanges[accepted - 1]?.answer ?? textAnswer('Sun.').content };
        });
        const called = answerWeather(results, 100);
        await runTurn(createBody(exchanges[0]?.question), { id });
        await runTurn(createBody('How is the weather?', { tools: [weatherTool({ once: true })] }), { id });
        expect(await askUntilAnswered(id, Math.max(1, Math.ceil(bad.length / 8)))).toBeDefined();
        expect(await askUntilAnswered(id, 0)).toBe(0);
        expect(called).toHaveLength(results.length);
        expect((await readConversation(id))?.cost_usd).toBeCloseTo(accepted * ANSWER_USD, 9);
        return undefined;
      },
    );
    await waitUntilAtRest();
  });

  test("fail one question if they come from a client's tool, and the next question is sent with the whole history", async () => {
    let scenario = 0;
    await tryAsyncCases(
      caseCount(80),
      fc.array(round, { minLength: 1, maxLength: 2 }),
      fc.array(fc.constantFrom(...(Object.keys(OF_RESULTS) as (keyof typeof OF_RESULTS)[])), {
        minLength: 1,
        maxLength: 2,
      }),
      rejecting,
      async (rounds, kinds, how) => {
        scenario += 1;
        const id = `o${scenario}`;
        const { exchanges, all } = planExchanges(rounds, how.naming);
        const fresh = kinds.map((kind, at): Made => ({ kind, mark: markOf(at + 100), isBad: true }));
        await ownFiles([...all, ...fresh].map(({ mark }) => mark));
        let accepted = 0;
        const bodies = answerByScript((body) => {
          const rejected = rejectionOf(body, fresh, how);
          if (rejected) return rejected;
          accepted += 1;
          const calls = kinds.map((_, at) => weatherCall(`toolu_${at}`, 'Bern', 'own'));
          const content =
            exchanges[accepted - 1]?.answer ?? (accepted === exchanges.length + 1 ? calls : textAnswer('Sun.').content);
          return content.some(({ type }) => type === 'tool_use') ? callsAnswer(...content) : { content };
        });
        const asks = [...exchanges.map(({ question }) => question), 'How is the weather?'];
        for (const question of asks) await runTurn(createBody(question, { tools: [OWN_TOOL] }), { id });
        const results = kinds.map((kind, at) => ({
          ...{ type: 'tool_result', tool_use_id: `toolu_${at}` },
          content: OF_RESULTS[kind](markOf(at + 100)),
        }));
        expect((await sendTurn(createBody(results), { id })).kind).not.toBe('stream');
        const { events } = await runTurn(createBody('And now?', { on_pending_tools: 'cancel' }), { id });
        expect(textOfDeltas(events)).toBe('Sun.');
        const { messages } = bodies.at(-1) as AskedBody;
        expect(all.filter((made) => !made.kind.endsWith('thinking') && !contains(messages, made))).toEqual([]);
        expect((await readConversation(id))?.cost_usd).toBeCloseTo(accepted * ANSWER_USD, 9);
        return undefined;
      },
    );
    await waitUntilAtRest();
  });

  test.each([
    'input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000, decrease input length or `max_tokens`',
    'Input is too long for requested model.',
    'Output blocked by content filtering policy',
    'messages.0.content.0.image.source.base64: At least one of the image dimensions exceed max allowed size for many-image requests: 2000 pixels',
    'At least one of the image dimensions exceed max allowed size for many-image requests: 2000 pixels',
    'image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes',
  ])('are replaced by text after the error: %s', async (said) => {
    const picture = new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]);
    const bodies = answerByScript((body, number) => {
      if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'));
      return JSON.stringify(body.messages.at(-1)).includes('iVBORw0KGgo=')
        ? createErrorResponse(400, TYPE[400], said)
        : textAnswer('Sun.');
    });
    answerTools(() => new Response(picture, { headers: { 'content-type': 'image/png' } }));
    const asked = [OF_QUESTIONS.image('b2xk')[0], { type: 'text', text: 'How is the weather?' }];
    const { events } = await runTurn(createBody(asked, { tools: [weatherTool({ once: true })] }));
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(bodies).toHaveLength(3);
    expect(JSON.stringify(bodies[2]?.messages[0])).toContain('b2xk');
  });

  test.each([
    [413, 'Request exceeds the maximum size'],
    [400, 'Input is too long for requested model.'],
    [400, 'image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes'],
  ] as const)(
    'are all replaced by text with the next question if the likeliest result was not the cause (%i %s)',
    async (status, said) => {
      const texts = ['rain '.repeat(400), 'sun', PNG].map((text) => ({ text }));
      const bodies = answerByScript((body, number) => {
        if (number === 1) return callsAnswer(...texts.map((_, at) => weatherCall(`toolu_${at}`, String(at))));
        return JSON.stringify(body).includes(markOf(1))
          ? createErrorResponse(status, TYPE[status], said)
          : textAnswer('Sun.');
      });
      answerWeather(texts);
      await runTurn(createBody('How is the weather?', { tools: [weatherTool({ once: true })], max_turns: 1 }));
      expect(textOfDeltas((await runTurn(createBody('And now?'))).events)).toBe('Sun.');
      expect(textOfDeltas((await runTurn(createBody('Thanks'))).events)).toBe('Sun.');
      expect(bodies).toHaveLength(5);
    },
  );

  test.each(OF_OPERATOR)('are kept without a retry if the error is about %s', async (_, status, type, said) => {
    const bodies = answerByScript((_, number) => {
      if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'));
      return number === 2 ? createErrorResponse(status, type, said) : textAnswer('Sun.');
    });
    answerTools(() => new Response('sunny weather'));
    await runTurn(createBody('How is the weather?', { tools: [weatherTool({ once: true })] }));
    expect(bodies).toHaveLength(2);
    expect(textOfDeltas((await runTurn(createBody('And now?'))).events)).toBe('Sun.');
    expect(JSON.stringify(bodies[2])).toContain('sunny weather');
  });

  test('are kept if the question that is sent with them is rejected with an unknown error', async () => {
    const bodies = answerByScript((body, number) => {
      if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'));
      return JSON.stringify(body.messages.at(-1)).includes('bomb')
        ? createErrorResponse(400, TYPE[400], 'Lorem ipsum.')
        : textAnswer('Sun.');
    });
    answerTools(() => new Response('sunny weather'));
    await runTurn(createBody('How is the weather?', { tools: [weatherTool({ once: true })], max_turns: 1 }));
    expect((await sendTurn(createBody('A bomb?'))).kind).not.toBe('stream');
    await runTurn(createBody('And now?'));
    expect(JSON.stringify(bodies.at(-1))).toContain('sunny weather');
  });
});
