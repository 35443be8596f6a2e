import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type AnswerName, answers } from './answers.ts';

/** The fake upstream, a process of its own: it speaks the Messages API's format and tells its parent its port. */

function isAnswerName(name: unknown): name is AnswerName {
  return typeof name === 'string' && Object.hasOwn(answers, name);
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  if (request.method === 'POST' && request.url?.startsWith('/v1/messages/count_tokens')) {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end('{"input_tokens":50000}');
    return;
  }
  const name = request.headers['x-bench'];
  if (request.method !== 'POST' || !request.url?.startsWith('/v1/messages') || !isAnswerName(name)) {
    response.writeHead(404, { 'content-type': 'application/json' });
    response.end('{"type":"error","error":{"type":"not_found_error","message":"x-bench names no answer"}}');
    return;
  }
  const { writes, pauseMs } = answers[name];
  response.setHeaders(
    new Headers({
      'content-type': 'text/event-stream; charset=utf-8',
      'request-id': 'req_011BenchBenchBenchBenchB',
      'anthropic-organization-id': '00000000-0000-4000-8000-000000000000',
      'anthropic-ratelimit-requests-limit': '4000',
      'anthropic-ratelimit-requests-remaining': '3999',
      'anthropic-ratelimit-tokens-limit': '400000',
      'anthropic-ratelimit-tokens-remaining': '399000',
    }),
  );
  response.flushHeaders();
  let next = 0;
  const write = (): void => {
    const piece = writes[next];
    if (piece === undefined || response.destroyed) {
      response.end();
      return;
    }
    next += 1;
    response.write(piece);
    if (pauseMs > 0) setTimeout(write, pauseMs);
    else setImmediate(write);
  };
  write();
}

const server = createServer({ noDelay: true, keepAlive: true, keepAliveTimeout: 60_000 }, (request, response) => {
  // The API answers when it has the whole request, so a slow relay of a large body must show.
  request.resume();
  request.once('end', () => answer(request, response));
});

server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.once('disconnect', () => process.exit());
