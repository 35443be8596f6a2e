/** Stands in for the Claude API: it answers a question by its name, in pieces, and fails as it is told to. */
import type Anthropic from '@anthropic-ai/sdk';
import type { Upstream } from '#edge/claude/upstream.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import { callingHost } from './host.ts';
import { ByteStream, createByteStreamResponse } from './streams.ts';
import type { World } from './world.ts';

/** How a request is answered, and in how many pieces. */
export interface AnswerPlan {
  kind: 'whole' | 'declined' | 'broken' | 'silent' | 'unreachable' | 'overloaded' | 'invalid';
  pieces: number;
}

export const ANSWER_KINDS = ['whole', 'declined', 'broken', 'silent', 'unreachable', 'overloaded', 'invalid'] as const;
const WHOLE_ANSWER: AnswerPlan = { kind: 'whole', pieces: 2 };
const USAGE = { input_tokens: 10, output_tokens: 1 };
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** @returns what is said to a question, as it is said part by part. */
export function answerWordsFor(question: string): string[] {
  return [`${question}:`, ' one', ' two', ' three'];
}

/** What an answer says: a text part by part, then calls of tools. */
interface AnswerContent {
  words: readonly string[];
  calls: readonly { id: string; name: string; input: object }[];
}

/** Decides what is said to the messages of a request, which has a number. */
export type Script = (messages: readonly Anthropic.MessageParam[], number: number) => AnswerContent;

/** A question is answered by its name. */
const answerByName: Script = (messages) => ({ words: answerWordsFor(String(messages.at(-1)?.content)), calls: [] });

/** @returns an API; each of its requests takes the next answer, and after the last all are whole. */
export function createSimulatedApi(world: World, answers: readonly AnswerPlan[], script = answerByName): Upstream {
  let requests = 0;
  const fetch: Upstream['fetch'] = (_, init) =>
    new Promise((resolve, reject) => {
      const { signal } = init;
      const rejectOnAbort = () => reject(signal?.reason);
      signal?.addEventListener('abort', rejectOnAbort, { once: true });
      const answer = world.isFreeOfMishaps ? WHOLE_ANSWER : (answers[requests] ?? WHOLE_ANSWER);
      requests += 1;
      const number = requests;
      // The network has its own copy: whoever gives the request up frees the memory of its body.
      const text = typeof init.body === 'string' ? init.body : decoder.decode(init.body as Uint8Array);
      callingHost()?.sendAfterCommit(() => {
        void world.hop(`upstream answers ${number} (${answer.kind})`).then(() => {
          const said = script(parseMessages(world, text), number);
          if (answer.kind === 'unreachable') reject(new Error('network connection lost'));
          else if (answer.kind === 'overloaded') resolve(createErrorResponse(529, 'overloaded_error'));
          else if (answer.kind === 'invalid') resolve(createErrorResponse(400, 'invalid_request_error'));
          else resolve(streamAnswer(world, number, said, answer, signal ?? undefined));
        });
      });
    });
  return { baseURL: 'https://api.anthropic.com', apiKey: 'sk-ant-simulated', fetch, isSimulated: false };
}

function parseMessages(world: World, text: string): Anthropic.MessageParam[] {
  const { messages } = JSON.parse(text) as { messages: Anthropic.MessageParam[] };
  const broken = findBrokenRule(messages);
  if (broken !== undefined) world.fail(`this went up although ${broken}: ${text}`);
  return messages;
}

function createErrorResponse(status: number, type: string): Response {
  const body = JSON.stringify({ type: 'error', error: { type, message: type } });
  return new Response(body, { status, headers: { 'content-type': 'application/json' } });
}

function streamAnswer(
  world: World,
  number: number,
  content: AnswerContent,
  answer: AnswerPlan,
  signal?: AbortSignal,
): Response {
  const events = createEvents(content, number, answer.kind);
  const size = Math.ceil(events.length / answer.pieces);
  const body = new ByteStream();
  let isOver = false;
  body.onCancel(() => {
    isOver = true;
  });
  signal?.addEventListener('abort', () => {
    isOver = true;
    body.break(signal.reason);
  });
  void (async () => {
    for (let at = 0; at < events.length; at += size) {
      if (at > 0) await world.hop(`upstream goes on with ${number}`);
      if (isOver) return;
      body.write(encoder.encode(events.slice(at, at + size).join('')));
    }
    if (answer.kind === 'silent') return;
    await world.hop(`upstream ends ${number}`);
    if (answer.kind === 'broken') body.break(new Error('network connection lost'));
    else body.close();
  })();
  return createByteStreamResponse(body, { 'content-type': 'text/event-stream', 'request-id': `req_${number}` });
}

function createEvents({ words, calls }: AnswerContent, number: number, kind: AnswerPlan['kind']): string[] {
  const message = { id: `msg_${number}`, type: 'message', role: 'assistant', model: 'claude-opus-5-5', content: [] };
  const start = {
    type: 'message_start',
    message: { ...message, stop_reason: null, stop_sequence: null, usage: USAGE },
  };
  const block = { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } };
  const deltas = words.map((text) => ({
    type: 'content_block_delta',
    index: 0,
    delta: { type: 'text_delta', text },
  }));
  const called = calls.flatMap(({ input, ...call }, at) => [
    { type: 'content_block_start', index: at + 1, content_block: { type: 'tool_use', ...call, input: {} } },
    {
      type: 'content_block_delta',
      index: at + 1,
      delta: { type: 'input_json_delta', partial_json: JSON.stringify(input) },
    },
    { type: 'content_block_stop', index: at + 1 },
  ]);
  const stop_reason = kind === 'declined' ? 'refusal' : calls.length > 0 ? 'tool_use' : 'end_turn';
  const delta = { type: 'message_delta', delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: 9 } };
  const stopped = { type: 'content_block_stop', index: 0 };
  const all = [start, block, ...deltas, stopped, ...called, delta, { type: 'message_stop' }].map(
    (event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`,
  );
  // In the middle of the text, or of the last call.
  return kind === 'broken' || kind === 'silent' ? all.slice(0, calls.length > 0 ? -3 : 5) : all;
}
