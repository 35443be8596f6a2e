import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Starts a server on this machine. A failure of its answer closes the connection. @returns its address, and how it stops */
export async function startLocalServer(answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>) {
  const server: Server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    // Whoever is killed leaves in the middle.
    answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, stop };
}

export async function readRequestBody(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const piece of request.setEncoding('utf8')) body += String(piece);
  return body;
}

/** @returns what a server was asked, as a request to the API. */
export function toApiRequest(
  { method = '', url = '', headers }: IncomingMessage,
  body: BodyInit | undefined,
  signal: AbortSignal,
): Request {
  const sent = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (!/^(host|connection|content-length|transfer-encoding|expect)$/.test(name)) sent.set(name, String(value));
  }
  const more = body === undefined ? {} : { body, duplex: 'half' };
  return new Request(`https://api.anthropic.com${url}`, { method, headers: sent, signal, ...more } as RequestInit);
}
