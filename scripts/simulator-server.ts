/** The simulator of the Claude API as an HTTP server on this machine. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { isLoopback } from '../src/edge/kit/http/headers/hosts.ts';
import { createSimulator, type SimulatedFetch, type SimulatorOptions } from '../src/edge/toolkit/simulator.ts';

/** A server that accepts connections from this machine only. */
export interface SimulatorServer {
  url: string;
  stop(): Promise<void>;
}

/**
 * Starts a simulator as a server.
 *
 * @param port 0 takes any free port
 * @throws Error with the code `EADDRINUSE` for a port that another program has
 */
export async function startSimulatorServer(port: number, options: SimulatorOptions = {}): Promise<SimulatorServer> {
  const simulate = createSimulator(options);
  const server = createServer((incoming, outgoing) => void answer(simulate, incoming, outgoing));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const { port: actual } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${actual}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const OTHER_HOST_ERROR = {
  type: 'error',
  error: {
    type: 'permission_error',
    message:
      'The simulator accepts requests from its own machine only. Call it as http://localhost or http://127.0.0.1.',
  },
};

/** Answers one request. A simulated loss of the network, or of the rest of a body, closes the connection. */
async function answer(simulate: SimulatedFetch, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  const aborter = new AbortController();
  outgoing.once('close', () => aborter.abort());
  // A page whose host name was rebound to this machine could read batches and files.
  if (!isLoopback(`http://${incoming.headers.host ?? ''}`)) {
    outgoing.writeHead(403, { 'content-type': 'application/json' }).end(JSON.stringify(OTHER_HOST_ERROR));
    return;
  }
  try {
    const response = await simulate(toRequest(incoming, aborter.signal));
    outgoing.writeHead(response.status, Object.fromEntries(response.headers));
    // Send the headers before the first byte of the body, so that a client can show that it is connected while a slow response
    // begins.
    outgoing.flushHeaders();
    if (response.body === null) outgoing.end();
    else await pipeline(Readable.fromWeb(response.body as ReadableStream), outgoing);
  } catch (thrown) {
    // A `TypeError` is a fault that the simulator was asked for, as `fetch` throws it, and a client that has disconnected is no
    // fault. Log any other error.
    if (!(thrown instanceof TypeError) && !aborter.signal.aborted) console.error(thrown);
    outgoing.destroy();
  }
}

function toRequest(incoming: IncomingMessage, signal: AbortSignal): Request {
  const { method = 'GET', url = '/', headers } = incoming;
  const pairs = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, String(value)]],
  );
  const hasBody = method !== 'GET' && method !== 'HEAD';
  return new Request(new URL(url, `http://${headers.host ?? 'localhost'}`), {
    method,
    headers: pairs as [string, string][],
    signal,
    ...(hasBody ? { body: Readable.toWeb(incoming) as BodyInit, duplex: 'half' } : {}),
  } as RequestInit);
}
