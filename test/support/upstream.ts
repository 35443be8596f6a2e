import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';

/** A request that has reached the upstream. */
export interface ReceivedRequest {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: Buffer;
}

/** A stand-in for the Claude API on loopback, which answers as the test says. */
export interface FakeUpstream {
  url: string;
  receivedRequests: ReceivedRequest[];
  /** How many answers were cut off by the caller's side before they ended. */
  cancelledCount: number;
  answer: (request: ReceivedRequest, response: ServerResponse) => void;
  /** Takes a request that has come in another way than to its URL. */
  receive: RequestListener;
  stop(): Promise<void>;
}

/** Starts the stand-in; `answer` may be replaced between requests. */
export async function startUpstream(answer: FakeUpstream['answer']): Promise<FakeUpstream> {
  const receive: RequestListener = (request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const received = {
        method: request.method ?? '',
        path: request.url ?? '',
        headers: request.headers,
        body: Buffer.concat(pieces),
      };
      upstream.receivedRequests.push(received);
      response.on('close', () => {
        if (!response.writableFinished) upstream.cancelledCount += 1;
      });
      upstream.answer(received, response);
    });
  };
  // Whoever calls ends what it does not need any more. A server that did so could end a connection in the very moment in
  // which the next request goes up on it: for the edge a request that may have run.
  const server = createServer({ keepAliveTimeout: 0 }, receive);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const upstream: FakeUpstream = {
    url: `http://127.0.0.1:${port}`,
    receivedRequests: [],
    cancelledCount: 0,
    answer,
    receive,
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return upstream;
}

/** Sends bytes as an event stream, each piece in a packet of its own, and ends well or by a cut. */
export async function streamBytes(response: ServerResponse, pieces: Uint8Array[], end: 'end' | 'cut'): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'request-id': 'req_upstream' });
  response.flushHeaders();
  response.socket?.setNoDelay(true);
  for (const piece of pieces) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    await new Promise<void>((resolve) => response.write(piece, () => resolve()));
  }
  if (end === 'end') response.end();
  else setImmediate(() => response.socket?.destroy());
}
