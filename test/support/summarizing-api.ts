/** An API that summarizes, with books of its own: it lives on while the edge is killed. */
import { findBrokenRule } from './api-rules.ts';
import { readBill } from './bills.ts';
import { readRequestBody, startLocalServer, toApiRequest } from './local-server.ts';
import type { RestartingEdge } from './restarting-edge.ts';
import { SECRET } from './tokens.ts';
import { createSimulatorWithoutThinking } from './without-thinking.ts';

/** What the edge says before the words of a summary that is a text. */
const TEXT_SUMMARY_PREFIX = 'This is a summary of the conversation so far.';
/** How a question names itself: its conversation, and its number in it. */
export const MARK = /\[([a-z]+-\d+)#(\d+)\]/g;

/** A request for an answer or a summary, as it went up. */
export interface ReceivedRequest {
  /** The last question in it; undefined where it has none. */
  mark: string | undefined;
  body: { messages: Parameters<typeof findBrokenRule>[0]; model: string; max_tokens: number };
  text: string;
  /** What it asks for. */
  kind: 'answer' | 'summary';
  /** What it begins with. */
  beginsWith: 'summary' | 'message';
}

/** So many of the last requests are kept. */
const MAX_KEPT_REQUESTS = 50;

type Messages = ReceivedRequest['body']['messages'];

/** @returns the mark of the last question */
function findMark(messages: Messages): string | undefined {
  const said = messages.flatMap(({ role, content }) => {
    if (role !== 'user') return [];
    if (typeof content === 'string') return content.startsWith(TEXT_SUMMARY_PREFIX) ? [] : [content];
    return content.map((block) => (block.type === 'text' ? block.text : ''));
  });
  return [...said.join('\n').matchAll(MARK)].at(-1)?.[0];
}

function classifyBeginning([first]: Messages): ReceivedRequest['beginsWith'] {
  const { content = '' } = first ?? {};
  return typeof content === 'string' && content.startsWith(TEXT_SUMMARY_PREFIX) ? 'summary' : 'message';
}

/** Starts it. @param see is told of each request before it is answered */
export async function startSummarizingApi(lives: RestartingEdge, see: (request: ReceivedRequest) => void = () => {}) {
  const simulate = createSimulatorWithoutThinking({
    ttftMs: 3,
    tokensPerSecond: 800,
    now: () => Date.now() + lives.aheadSeconds * 1_000,
  });
  /** What each answer that has ended costs, by its `request-id`, in dollars. */
  const bills = new Map<string, number>();
  /** The last requests. */
  const asked: ReceivedRequest[] = [];
  /** Rules that requests have broken, and what was not answered with success. */
  const faults: string[] = [];
  const made = { summaries: 0 };
  const server = await startLocalServer(async (request, response) => {
    const { url = '' } = request;
    const isMessage = /^\/v1\/messages(\?|$)/.test(url);
    const left = new AbortController();
    response.on('close', () => left.abort());
    const text = await readRequestBody(request);
    const body = isMessage ? (JSON.parse(text) as ReceivedRequest['body']) : undefined;
    const what = body && isAskedForSummary(body.messages) ? 'summary' : 'answer';
    lives.noteObserved(what === 'answer' ? 'asked' : 'summary');
    if (body) {
      const { messages } = body;
      const one = {
        mark: findMark(messages),
        body,
        text,
        kind: what,
        beginsWith: classifyBeginning(messages),
      } as const;
      asked.push(one);
      if (asked.length > MAX_KEPT_REQUESTS) asked.shift();
      see(one);
      const broken = findBrokenRule(messages);
      if (broken !== undefined) faults.push(`${broken} in ${text}`);
    }
    const answer = await simulate(toApiRequest(request, text === '' ? undefined : text, left.signal));
    if (!answer.ok) faults.push(`${answer.status} ${await answer.clone().text()} for ${text}`);
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.flushHeaders();
    let told = '';
    const decoder = new TextDecoder();
    for await (const piece of answer.body ?? []) {
      const more = decoder.decode(piece, { stream: true });
      told += more;
      response.write(piece);
    }
    response.end();
    if (!answer.ok || !isMessage) return;
    const bill = readBill(told);
    if (bill !== undefined) bills.set(answer.headers.get('request-id') ?? '', bill);
    if (what === 'answer') return;
    made.summaries += 1;
    lives.noteObserved('summarized');
  });
  return { ...server, simulate, bills, asked, faults, made };
}

export type SummarizingApi = Awaited<ReturnType<typeof startSummarizingApi>>;

/** What the conversations of the tests ask a model for. */
export const INSTRUCTIONS = 'Summarize this conversation: keep all that is to be remembered, and nothing else.';

function isAskedForSummary(messages: Messages): boolean {
  return messages.at(-1)?.content === INSTRUCTIONS;
}

/** @returns the settings of an edge with this API and these tools, by their addresses */
export function createSettings(api: string, tools: string): Record<string, string> {
  return {
    SIGNING_SECRET: SECRET,
    ANTHROPIC_API_KEY: 'key',
    ANTHROPIC_BASE_URL: api,
    TOOL_HOSTS: new URL(tools).host,
    TOOL_SIGNING_SECRET: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
  };
}
