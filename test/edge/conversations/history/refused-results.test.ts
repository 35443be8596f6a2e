/** Results of the edge's calls that the API refuses: they are told in words, and the conversation goes on. */
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { Account } from '#edge/money/account/account.ts';
import { listMessages, readConversation, stubOf, waitUntilAtRest } from '#test/support/conversations.ts';
import { followRun, Killer } from '#test/support/killed-runs.ts';
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
import { createBody, runTurn, sendTurn, textOfDeltas } from '#test/support/turns.ts';
import { createErrorResponse, messageStart, messageWith, PING, sseEvent, sseResponse } from '#test/support/wire.ts';

const asked = (more: object = {}) => createBody('How is the weather?', { tools: [weatherTool()], ...more });
const picture = () =>
  new Response(new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]), { headers: { 'content-type': 'image/png' } });
const text = (words: string) => new Response(words);
const resultsIn = ({ messages }: AskedBody) =>
  messages.flatMap(({ content }) =>
    Array.isArray(content) ? content.filter(({ type }) => type === 'tool_result') : [],
  );
const hasImage = (body: AskedBody) => JSON.stringify(body.messages).includes('"image"');
/** @param then what happens when a hold stands, before its conversation hears of it */
function onAdmitted(then: () => Promise<void>): void {
  const { admitJson } = Account.prototype;
  const spy = vi.spyOn(Account.prototype, 'admitJson').mockImplementation(async function (this: Account, ...request) {
    const answer = await admitJson.apply(this, request);
    await then();
    return answer;
  });
  onTestFinished(() => spy.mockRestore());
}
const BAD = 'messages.2.content.1.tool_result.content.0.image.source.base64: Could not process image';

/** How the API refuses a request: in a stream, it may be split anywhere, behind pings. */
const WAYS = {
  'by its status': (words) => createErrorResponse(400, 'invalid_request_error', words),
  'in a stream': (words) => sseResponse(refusedEvent(words)),
  'in a stream, in pieces behind a ping': (words) =>
    sseResponse(inPieces(PING, ...refusedEvent(words).split(/(?<=mess)/))),
  'in a stream without its last line end': (words) => sseResponse(inPieces(refusedEvent(words).trimEnd())),
} satisfies Record<string, (words: string) => Response>;

const refusedEvent = (message: string) => sseEvent('error', { error: { type: 'invalid_request_error', message } });

/** A stream of pieces, each by itself. */
function inPieces(...pieces: string[]): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream(
    {
      type: 'bytes',
      pull(controller) {
        const piece = pieces.shift();
        if (piece === undefined) {
          controller.close();
          controller.byobRequest?.respond(0);
        } else controller.enqueue(encoder.encode(piece));
      },
    },
    { highWaterMark: 0 },
  );
}

/** Has the weather of Bern and Oslo asked for, and refuses bodies. @returns what went up, and the calls of tools */
function refusing(
  refuse: (body: AskedBody, number: number) => string | undefined,
  {
    oslo = picture,
    way = 'by its status',
    cutAt,
    before,
  }: { cutAt?: number; oslo?: () => Response; way?: keyof typeof WAYS; before?: () => Promise<void> } = {},
) {
  const bodies = answerByScript((body, number) => {
    if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'), weatherCall('toolu_2', 'Oslo'));
    if (number === cutAt) return sseResponse(inPieces(messageStart()));
    const words = refuse(body, number);
    return words === undefined ? textAnswer('Sun.') : WAYS[way](words);
  }, before && { before });
  const called = answerTools(({ body }) => ((body.input as JsonObject).city === 'Oslo' ? oslo() : text('sun')));
  return { bodies, called };
}

describe.each(Object.keys(WAYS) as (keyof typeof WAYS)[])('a tool result that the API rejects %s', (way) => {
  test('is replaced by text in one more step of the run, without another call of its tool', async () => {
    const { bodies, called } = refusing((body) => (hasImage(body) ? BAD : undefined), { way });
    const { events } = await runTurn(asked({ tools: [weatherTool({ once: true })] }));
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(called).toHaveLength(2);
    expect(bodies).toHaveLength(3);
    const [bern, oslo] = resultsIn(bodies[2] as AskedBody);
    expect(bern?.content).toBe('sun');
    expect(oslo?.content).toMatch(
      /^The tool was called and has answered; do not call it again .*Could not process image/,
    );
    await runTurn(createBody('Thanks'));
    expect(bodies).toHaveLength(4);
    expect(hasImage(bodies[3] as AskedBody)).toBe(false);
    expect(resultsIn(bodies[3] as AskedBody)).toEqual(resultsIn(bodies[2] as AskedBody));
    expect(JSON.stringify(await listMessages())).not.toContain('image/png');
  });

  test('is taken to be the result with an image if the error names no path', async () => {
    const { bodies } = refusing((body) => (hasImage(body) ? 'Could not process image' : undefined), {
      way,
    });
    expect(textOfDeltas((await runTurn(asked())).events)).toBe('Sun.');
    expect(resultsIn(bodies[2] as AskedBody)[0]?.content).toBe('sun');
  });

  test('is taken to be the longest result if the prompt is too long', async () => {
    const long = (body: AskedBody) => JSON.stringify(body).length > 50_000;
    const { bodies } = refusing(
      (body) => (long(body) ? 'prompt is too long: 1000001 tokens > 1000000 maximum' : undefined),
      { way, oslo: () => text('rain '.repeat(20_000)) },
    );
    expect(textOfDeltas((await runTurn(asked())).events)).toBe('Sun.');
    expect(resultsIn(bodies[2] as AskedBody).map(({ content }) => String(content).length < 500)).toEqual([true, true]);
  });

  test('ends the run after a second rejection, and the next question is accepted', async () => {
    const { bodies, called } = refusing(
      (_, number) => (number < 4 ? BAD.replace('content.1', `content.${number === 2 ? 1 : 0}`) : undefined),
      { way },
    );
    const { events } = await runTurn(asked());
    expect(events.at(-1)?.event).toBe('error');
    expect(bodies).toHaveLength(3);
    await runTurn(createBody('And now?', { tools: [weatherTool()] }));
    expect(bodies).toHaveLength(4);
    expect(called).toHaveLength(2);
    const results = resultsIn(bodies[3] as AskedBody);
    expect(results.map(({ content }) => String(content).startsWith('The tool was called'))).toEqual([true, true]);
  });

  test('is replaced by text if it was first sent with the next question', async () => {
    const { bodies, called } = refusing((body) => (hasImage(body) ? BAD : undefined), { way });
    await runTurn(asked({ max_turns: 1 }));
    expect(bodies).toHaveLength(1);
    const { events } = await runTurn(createBody('Go on'));
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(bodies).toHaveLength(3);
    expect(called).toHaveLength(2);
    expect(bodies[2]?.messages.at(-1)?.content).toContainEqual({ type: 'text', text: 'Go on' });
  });
});

test('a result that an upstream rejects in a stream is sent as text to the same upstream', async () => {
  const hosts: string[] = [];
  installTwoUpstreams((host, body) => {
    hosts.push(host);
    if (hasImage(body)) return WAYS['in a stream'](BAD);
    const answer =
      hosts.length === 1
        ? callsAnswer(weatherCall('toolu_1', 'Bern'), weatherCall('toolu_2', 'Oslo'))
        : textAnswer('Sun.');
    return sseResponse(createMessageEventStream({ ...messageWith(answer), model: body.model }));
  });
  answerTools(({ body }) => ((body.input as JsonObject).city === 'Oslo' ? picture() : text('sun')));
  expect(textOfDeltas((await runTurn(asked())).events)).toBe('Sun.');
  expect(hosts).toEqual(Array(3).fill(hosts[0]));
});

test.each(Object.keys(WAYS) as (keyof typeof WAYS)[])(
  'a result in an earlier question whose response was cut is sent as text with the next question: rejected %s',
  async (way) => {
    const { bodies, called } = refusing((body, number) => (number > 2 && hasImage(body) ? BAD : undefined), {
      way,
      cutAt: 2,
    });
    await runTurn(asked({ max_turns: 1, tools: [weatherTool({ once: true })] }));
    const { events: lost } = await runTurn(createBody('Go on'));
    expect(lost.at(-1)?.event).toBe('error');
    expect((await listMessages()).at(-1)).toMatchObject({ status: 'interrupted' });
    const { events } = await runTurn(createBody('And now?'));
    expect(textOfDeltas(events)).toBe('Sun.');
    await runTurn(createBody('Thanks'));
    expect(bodies.map(hasImage)).toEqual([false, true, true, false, false]);
    expect(JSON.stringify(bodies[4])).toContain('Go on');
    expect(called).toHaveLength(2);
  },
);

describe('between the rejection of a result and the retry', () => {
  const once = asked({ tools: [weatherTool({ once: true })] });
  const { run: _, ...own } = weatherTool();

  test.each(
    (['by its status', 'in a stream'] as const).flatMap((way) =>
      (['hold stands', 'sent again'] as const).map((point) => ({ way, point })),
    ),
  )('a crash repeats no tool call, and the next question is accepted: $way, $point', async ({ way, point }) => {
    const killer = new Killer([point]);
    const at = async (one: typeof point) => {
      if (one === point) await killer.reachPoint(point);
    };
    const { bodies, called } = refusing((body) => (hasImage(body) ? BAD : undefined), {
      way,
      before: () => at('sent again'),
    });
    onAdmitted(() => at('hold stands'));
    killer.planKills([{ point, after: 2 }]);
    const { events } = await killer.runWithKills(followRun(once, 'c1'));
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(killer.killCounts.get(point)).toBe(1);
    await runTurn(createBody('Thanks'));
    expect(bodies.map(hasImage)).toEqual([false, true, false, false]);
    expect(called).toHaveLength(2);
  });

  test.each(['hold stands', 'sent again'] as const)(
    'a crash may lose a question with stored results, and the next question is accepted: %s',
    async (point) => {
      const killer = new Killer([point]);
      const at = async (one: typeof point) => {
        if (one === point) await killer.reachPoint(point);
      };
      const { bodies, called } = refusing((body) => (hasImage(body) ? BAD : undefined), {
        before: () => at('sent again'),
      });
      onAdmitted(() => at('hold stands'));
      await runTurn({ ...once, max_turns: 1 });
      killer.planKills([{ point, after: 1 }]);
      // It is no run, which would go on.
      const asking = sendTurn(createBody('Go on', { tools: [own] }));
      await killer.runWithKills(asking.catch(() => {}));
      expect(killer.killCounts.get(point)).toBe(1);
      expect(textOfDeltas((await runTurn(createBody('And now?'))).events)).toBe('Sun.');
      expect(bodies.map(hasImage)).toEqual([false, true, false]);
      expect(called).toHaveLength(2);
    },
  );

  test.each(Object.keys(WAYS) as (keyof typeof WAYS)[])(
    'a stop ends the run, and the next question is accepted: rejected %s',
    async (way) => {
      const { bodies, called } = refusing((body) => (hasImage(body) ? BAD : undefined), { way });
      let admissions = 0;
      onAdmitted(async () => {
        admissions += 1;
        if (admissions === 3) await stubOf().stopRunningTurn();
      });
      const { text } = await runTurn(once);
      expect(text).toContain(': sluice-stopped');
      expect(bodies).toHaveLength(2);
      await waitUntilAtRest();
      expect(textOfDeltas((await runTurn(createBody('Thanks'))).events)).toBe('Sun.');
      expect(bodies.slice(2).map(hasImage)).toEqual([false]);
      expect(called).toHaveLength(2);
    },
  );
});

describe('max_usd in a run with a retried step', () => {
  const usage = { input_tokens: 100, output_tokens: 1_500 };
  const STEP_USD = 100 * 4e-6 + 1_500 * 20e-6;
  const asking = { ...callsAnswer(weatherCall('toolu_1', 'Bern'), weatherCall('toolu_2', 'Oslo')), usage };
  const limited = (max_usd: number) => asked({ max_usd, max_tokens: 2_000, tools: [weatherTool({ once: true })] });
  const costOf = async () => (await readConversation())?.cost_usd;

  test.each(Object.keys(WAYS) as (keyof typeof WAYS)[])(
    'does not count a request that was rejected %s, so that two steps fit',
    async (way) => {
      answerByScript((_, number) =>
        number === 1 ? asking : number === 2 ? WAYS[way](BAD) : { ...textAnswer('Sun.'), usage },
      );
      answerTools(() => text('sun'));
      const { events } = await runTurn(limited(3 * STEP_USD));
      expect(textOfDeltas(events)).toBe('Sun.');
      await waitUntilAtRest();
      expect(await costOf()).toBeCloseTo(2 * STEP_USD, 9);
    },
  );

  test('counts a refusal of the model, pauses the run before the next step, and resumes with a higher limit', async () => {
    const bodies = answerByScript((body, number) => {
      if (number === 1) return asking;
      return JSON.stringify(body.messages).includes('secret')
        ? { content: [], stop_reason: 'refusal', usage }
        : { ...textAnswer('Sun.'), usage };
    });
    const called = answerTools(() => text('secret'));
    const { text: told } = await runTurn(limited(3 * STEP_USD));
    expect(told).toContain(': sluice-paused=max_usd');
    expect(bodies).toHaveLength(2);
    await waitUntilAtRest();
    expect(await costOf()).toBeCloseTo(2 * STEP_USD, 9);
    const { events } = await runTurn({ ...limited(1), messages: [] });
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(called).toHaveLength(2);
  });
});

test.each([
  'Your credit balance is too low to access the Anthropic API',
  'You have reached your specified API usage limits',
  'tools.0.custom.input_schema: JSON schema is invalid',
])('the step is not retried after the error: %s', async (words) => {
  const { bodies } = refusing((_, number) => (number === 2 ? words : undefined));
  const { events } = await runTurn(asked());
  expect(events.at(-1)?.event).toBe('error');
  expect(bodies).toHaveLength(2);
  expect(await sendTurn(createBody('Go on'))).toMatchObject({ kind: 'stream' });
  expect(resultsIn(bodies[2] as AskedBody)[0]?.content).toBe('sun');
});

describe('a run in which the model refuses to answer tool results', () => {
  const refuses = { content: [], stop_reason: 'refusal' };

  test('replaces all results by text and continues, without another tool call', async () => {
    const bodies = answerByScript((body, number) => {
      if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'), weatherCall('toolu_2', 'Oslo'));
      return JSON.stringify(body.messages).includes('secret') ? refuses : textAnswer('Sun.');
    });
    const called = answerTools(() => text('secret'));
    const { events } = await runTurn(asked({ tools: [weatherTool({ once: true })] }));
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(called).toHaveLength(2);
    await runTurn(createBody('Thanks'));
    expect(bodies.map(({ messages }) => messages.length)).toEqual([1, 3, 3, 5]);
    expect(JSON.stringify(bodies[3]?.messages)).not.toContain('secret');
  });

  test('ends after a second refusal, and its messages are omitted from the next request', async () => {
    const bodies = answerByScript((_, number) =>
      number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : number < 4 ? refuses : textAnswer('Sun.'),
    );
    const called = answerTools(() => text('secret'));
    const { events } = await runTurn(asked());
    expect(events.find(({ event }) => event === 'message_delta')?.data).toMatchObject({
      delta: { stop_reason: 'refusal' },
    });
    const { events: next } = await runTurn(createBody('Thanks'));
    expect(textOfDeltas(next)).toBe('Sun.');
    expect(called).toHaveLength(1);
    expect(bodies[3]?.messages).toEqual([{ role: 'user', content: 'Thanks' }]);
    const rows = await listMessages();
    expect(rows.map(({ status }) => status)).toEqual([...Array(4).fill('refused'), 'complete', 'complete']);
    expect(await readConversation()).toMatchObject({ turns: 2, messages: 6 });
    await waitUntilAtRest();
  });

  test('is omitted from the history after the model refuses a later question with the results as text', async () => {
    const bodies = answerByScript((_, number) =>
      number === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : number < 4 ? refuses : textAnswer('Sun.'),
    );
    const called = answerTools(() => text('secret'));
    await runTurn(asked({ max_turns: 1, tools: [weatherTool({ once: true })] }));
    await runTurn(createBody('Go on'));
    await runTurn(createBody('Go on now'));
    expect(JSON.stringify(bodies[2]?.messages)).not.toContain('secret');
    await runTurn(createBody('Thanks'));
    expect(called).toHaveLength(1);
    expect(bodies[3]?.messages).toEqual([{ role: 'user', content: 'Thanks' }]);
    await waitUntilAtRest();
  });

  test('continues with the results as text after a pause', async () => {
    const bodies = answerByScript((body, number) => {
      if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'));
      return JSON.stringify(body.messages).includes('secret') ? refuses : textAnswer('Sun.');
    });
    answerTools(() => text('secret'));
    const { events } = await runTurn(asked({ max_turns: 2 }));
    expect(events.find(({ event }) => event === 'message_delta')?.data).toMatchObject({
      delta: { stop_reason: 'pause_turn' },
    });
    const { events: next } = await runTurn({ ...asked(), messages: [] });
    expect(textOfDeltas(next)).toBe('Sun.');
    expect(bodies[2]?.messages).toHaveLength(3);
  });

  test.each([1, 5])(
    'sends results only once if their calls are omitted because the code has no container (max_turns: %i)',
    async (max_turns) => {
      const caller = { type: 'code_execution_20260120', tool_id: 'srvtoolu_1' };
      const bodies = answerByScript((body, number) => {
        if (number === 1) return callsAnswer({ ...weatherCall('toolu_1', 'Bern'), caller });
        return JSON.stringify(body.messages).includes('secret') ? refuses : textAnswer('Sun.');
      });
      const called = answerTools(() => text('secret'));
      await runTurn(asked({ max_turns, tools: [weatherTool({ once: true })] }));
      await runTurn(createBody('Go on'));
      const { events } = await runTurn(createBody('Thanks'));
      expect(textOfDeltas(events)).toBe('Sun.');
      expect(called).toHaveLength(1);
      expect(bodies.filter((body) => JSON.stringify(body.messages).includes('secret'))).toHaveLength(1);
    },
  );

  test('replaces results by text in a question whose response was cut', async () => {
    const bodies = answerByScript((body, number) => {
      if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'));
      if (number === 2) return sseResponse(inPieces(messageStart()));
      return JSON.stringify(body.messages).includes('secret') ? refuses : textAnswer('Sun.');
    });
    const called = answerTools(() => text('secret'));
    await runTurn(asked({ max_turns: 1, tools: [weatherTool({ once: true })] }));
    await runTurn(createBody('Go on'));
    await runTurn(createBody('And now?'));
    const { events } = await runTurn(createBody('Thanks'));
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(called).toHaveLength(1);
    expect(JSON.stringify(bodies.at(-1))).toContain('Go on');
  });

  test('keeps results that an empty response accepted if a later question is refused for another reason', async () => {
    const bodies = answerByScript((body, number) => {
      if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'));
      if (JSON.stringify(body.messages).includes('bomb')) return refuses;
      return number === 2 ? { content: [] } : textAnswer('Sun.');
    });
    answerTools(() => text('sun'));
    await runTurn(asked({ max_turns: 1 }));
    await runTurn(createBody('Go on'));
    for (const _ of [1, 2]) await runTurn(createBody('How is a bomb made?'));
    const { events } = await runTurn(createBody('Thanks'));
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(resultsIn(bodies.at(-1) as AskedBody)[0]?.content).toBe('sun');
  });

  test('replaces results by text if they were first sent with the next question', async () => {
    const bodies = answerByScript((body, number) => {
      if (number === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'));
      return JSON.stringify(body.messages).includes('secret') ? refuses : textAnswer('Sun.');
    });
    answerTools(() => text('secret'));
    await runTurn(asked({ max_turns: 1 }));
    await runTurn(createBody('Go on', { tools: [weatherTool()] }));
    const { events } = await runTurn(createBody('Thanks'));
    expect(textOfDeltas(events)).toBe('Sun.');
    expect(JSON.stringify(bodies.at(-1)?.messages)).not.toContain('secret');
  });
});
