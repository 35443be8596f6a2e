import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The upstream of runs and the server of their tools, in one process. It tells its parent its port. */

/** What the upstream was asked for: steps of a run, and calls in each of them. */
const ORDER = /^(\d+)x(\d+)$/;
const USAGE = { input_tokens: 100, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };

interface Asked {
  messages: { role: string; content: unknown }[];
  [member: string]: unknown;
}

async function textOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString();
}

function eventsOf(content: object[], stop_reason: string): string {
  const event = (type: string, fields: object) => `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
  const message = { id: 'msg_bench', type: 'message', role: 'assistant', model: 'claude-haiku-5-5', content: [] };
  const blocks = content.flatMap((block, index) => [
    event('content_block_start', {
      index,
      content_block: 'input' in block ? { ...block, input: {} } : { ...block, text: '' },
    }),
    event('content_block_delta', {
      index,
      delta:
        'input' in block
          ? { type: 'input_json_delta', partial_json: JSON.stringify(block.input) }
          : { type: 'text_delta', text: 'text' in block ? block.text : '' },
    }),
    event('content_block_stop', { index }),
  ]);
  return [
    event('message_start', { message: { ...message, usage: { ...USAGE, output_tokens: 1 } } }),
    ...blocks,
    event('message_delta', { delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: 20 } }),
    event('message_stop', {}),
  ].join('');
}

/** Answers a step with calls, and the last one with a text. */
async function answerStep(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = JSON.parse(await textOf(request)) as Asked;
  const [, steps, tools] = ORDER.exec(String(request.headers['x-bench'])) ?? [];
  const step = body.messages.filter(({ role }) => role === 'assistant').length + 1;
  const isLast = step >= Number(steps);
  const calls = Array.from({ length: Number(tools) }, (_, n) => ({
    type: 'tool_use',
    id: `toolu_${step}_${n}`,
    name: 'look_up',
    input: { what: `${step}.${n}` },
  }));
  const text = { type: 'text', text: isLast ? `${wholeResults(body)} results have come.` : 'I look that up.' };
  const sent = eventsOf(isLast ? [text] : [text, ...calls], isLast ? 'end_turn' : 'tool_use');
  response.writeHead(200, { 'content-type': 'text/event-stream', 'request-id': 'req_011BenchBenchBenchBenchB' });
  response.end(sent);
}

/** @returns how many results of tools are in a request that are no errors */
function wholeResults({ messages }: Asked): number {
  const blocks = messages.flatMap(({ content }) => (Array.isArray(content) ? (content as { type?: string }[]) : []));
  return blocks.filter((block) => block.type === 'tool_result' && !('is_error' in block)).length;
}

async function answerCall(request: IncomingMessage, response: ServerResponse): Promise<void> {
  await textOf(request);
  response.writeHead(200, { 'content-type': 'text/plain' });
  response.end('what was looked up');
}

const server = createServer({ noDelay: true, keepAlive: true, keepAliveTimeout: 60_000 }, (request, response) => {
  const answer = () => (request.url === '/tool' ? answerCall(request, response) : answerStep(request, response));
  answer().catch((error: unknown) => {
    response.writeHead(400, { 'content-type': 'application/json' });
    const message = error instanceof Error ? error.message : String(error);
    response.end(JSON.stringify({ type: 'error', error: { type: 'invalid_request_error', message } }));
  });
});

server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.once('disconnect', () => process.exit());
