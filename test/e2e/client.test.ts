/** The client through a proxy that cuts: `test/client` has no connections. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { type Client, createClient } from '#client/index.ts';
import { isBrowserMissing, launchBrowser } from '#test/support/browser.ts';
import { bundleForBrowser } from '#test/support/bundle.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { caseCount } from '#test/support/property-cases.ts';
import { startSite } from '#test/support/site.ts';
import { type FakeUpstream, startUpstream } from '#test/support/upstream.ts';
import { contentBlock, messageEnd, messageStart, PING, splitEvents } from '#test/support/wire.ts';
import { type CuttingProxy, startCuttingProxy } from './cutting-proxy.ts';

/** By day some: at night 200, of which each connection is cut. */
const ANSWERS = caseCount(200, 0.3);
const MOST_BYTES = 8_000;
/** A browser opens six connections to one origin. */
const PROXIES = 4;
const MODEL = 'claude-haiku-4-5';
/** On a busy machine a browser takes its time for hundreds of connections. */
const PATIENCE_MS = 240_000;

let upstream: FakeUpstream;
let edge: Edge;
let proxies: CuttingProxy[];
/** How often the upstream was asked each question. */
const asked = new Map<string, number>();

beforeAll(async () => {
  upstream = await startUpstream((request, response) => {
    const { messages } = JSON.parse(request.body.toString()) as { messages: { content: string }[] };
    const question = messages.at(-1)?.content ?? '';
    asked.set(question, (asked.get(question) ?? 0) + 1);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    void (async () => {
      for (const event of splitEvents(answerTo(question))) {
        response.write(event);
        await sleep(3);
      }
      response.end();
    })();
  });
  edge = await startEdge(inject('worker'), {
    ANTHROPIC_API_KEY: 'test-key',
    ANTHROPIC_BASE_URL: upstream.url,
  });
  const random = () => Math.floor(Math.random() * MOST_BYTES);
  proxies = await Promise.all(Array.from({ length: PROXIES }, () => startCuttingProxy(edge.url, random)));
});

afterAll(async () => {
  for (const proxy of proxies) proxy.stop();
  await edge.stop();
  await upstream.stop();
});

/** Thinking, text of all kinds of characters and a tool call: other ones for each question, the same each time. */
function answerTo(question: string): string {
  let state = [...question].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) >>> 0, 7);
  const next = (most: number) => {
    state = (state * 1_664_525 + 1_013_904_223) >>> 0;
    return state % most;
  };
  const words = ['water ', 'flüsse ', '"quoted" ', '川 ', '🌊', '\n\n', 'data: ', 'event: x\n', '\\', 'and so on '];
  const some = () => Array.from({ length: 1 + next(6) }, () => words[next(words.length)]).join('');
  const times = <T>(count: number, make: () => T) => Array.from({ length: count }, make);
  const id = `msg_${question.replace(/\W/g, '')}`;
  const json = JSON.stringify({ title: some(), text: times(8, some).join('') });
  const parts = json.match(/.{1,20}/gsu) ?? [];
  const thinking = times(next(10), () => ({ type: 'thinking_delta', thinking: some() }));
  const said = times(10 + next(60), () => ({ type: 'text_delta', text: some() }));
  const tool = { type: 'tool_use', id: `toolu_${next(1e6)}`, name: 'save', input: {} };
  const input = parts.map((partial_json) => ({ type: 'input_json_delta', partial_json }));
  return [
    messageStart({ id, model: MODEL, usage: { input_tokens: 20, output_tokens: 1 } }),
    contentBlock({ type: 'thinking', thinking: '', signature: '' }, [
      ...thinking,
      { type: 'signature_delta', signature: 'c2lnbmVk' },
    ]),
    PING,
    contentBlock({ type: 'text', text: '' }, said, 1),
    contentBlock(tool, input, 2),
    messageEnd({ output_tokens: 90 }, 'tool_use'),
  ].join('');
}

interface Answered {
  question: string;
  events: unknown[];
  text: string;
  costUsd: number | undefined;
  fault: string | undefined;
}

/** Asks many questions at once, each in a conversation of its own. It runs in a page, too: it is made of itself alone. */
async function askAll(
  clients: Client[],
  { from, count, atOnce, model }: { from: string; count: number; atOnce: number; model: string },
): Promise<Answered[]> {
  const answers: Answered[] = [];
  let at = 0;
  const one = async () => {
    while (at < count) {
      const question = `${from}-${at}`;
      const client = clients[at++ % clients.length];
      const messages = [{ role: 'user' as const, content: question }];
      const stream = client?.messages.stream({ conversation: question, model, max_tokens: 500, messages });
      const events: unknown[] = [];
      let text = '';
      let fault: string | undefined;
      try {
        for await (const event of stream ?? []) events.push(event);
        text = JSON.stringify(await stream?.finalMessage());
      } catch (thrown) {
        fault = String(thrown);
      }
      answers.push({ question, events, text, costUsd: stream?.costUsd, fault });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, one));
  return answers;
}

function expectWhole(answers: Answered[]): void {
  expect(answers).toHaveLength(ANSWERS);
  for (const { question, events, text, costUsd, fault } of answers) {
    expect(fault, question).toBeUndefined();
    const whole = splitEvents(answerTo(question))
      .map((event) => JSON.parse(event.slice(event.indexOf('data: ') + 6)) as { type: string })
      .filter(({ type }) => type !== 'ping');
    expect(events, question).toEqual(whole);
    const said = (kind: string) =>
      whole.map((event) => (event as { delta?: Record<string, string> }).delta?.[kind] ?? '').join('');
    expect(JSON.parse(text)).toMatchObject({
      stop_reason: 'tool_use',
      content: [
        { type: 'thinking', thinking: said('thinking'), signature: 'c2lnbmVk' },
        { type: 'text', text: said('text') },
        { type: 'tool_use', input: JSON.parse(said('partial_json')) },
      ],
    });
    expect(costUsd).toBeGreaterThan(0);
    expect(asked.get(question), question).toBe(1);
  }
}

const cutsOf = () => proxies.reduce((sum, { cuts }) => sum + cuts, 0);

describe('the client behind a proxy that cuts every connection', () => {
  test(
    `receives ${ANSWERS} complete responses, and requests none twice, in Node`,
    async () => {
      const before = cutsOf();
      const clients = proxies.map(({ url }) => createClient({ baseURL: url, patience: { beginMs: PATIENCE_MS } }));
      expectWhole(await askAll(clients, { from: 'node', count: ANSWERS, atOnce: 24, model: MODEL }));
      expect(cutsOf() - before).toBeGreaterThan(ANSWERS);
    },
    PATIENCE_MS,
  );

  test.skipIf(isBrowserMissing())(
    `receives ${ANSWERS} complete responses, and requests none twice, in Chromium`,
    async () => {
      const before = cutsOf();
      const answers = await inPage(async (page) => {
        await page.evaluate(`globalThis.askAll = ${askAll.toString()}`);
        return await page.evaluate(
          async ({ urls, beginMs, asked }) => {
            const { createClient: create, askAll: ask } = globalThis as unknown as {
              createClient: typeof createClient;
              askAll: typeof askAll;
            };
            return await ask(
              urls.map((baseURL) => create({ baseURL, patience: { beginMs } })),
              asked,
            );
          },
          {
            urls: proxies.map(({ url }) => url),
            beginMs: PATIENCE_MS,
            asked: { from: 'chromium', count: ANSWERS, atOnce: 24, model: MODEL },
          },
        );
      });
      expectWhole(answers);
      expect(cutsOf() - before).toBeGreaterThan(ANSWERS);
    },
    PATIENCE_MS,
  );
});

/** Runs something in a page of another origin than the edge's, which has the client. */
async function inPage<T>(work: (page: Page) => Promise<T>): Promise<T> {
  const script = await bundleForBrowser(`
    import { createClient } from './src/client/index.ts';
    globalThis.createClient = createClient;`);
  const site = await startSite(script);
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage();
    await page.goto(site.url);
    return await work(page);
  } finally {
    await browser.close();
    site.stop();
  }
}
