/**
 * Protects a development server: it owns the public port, checks each request as it came over the wire, and only it
 * knows the secret that the Worker asks for.
 *
 * The local runtime behind it trusts headers that anyone can send (such as `mf-original-url`, the URL of a request), and
 * has pages of its own that show all stored data.
 */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { isIP, type Socket } from 'node:net';
import { ApiError, DO_NOT_RETRY, type ErrorOptions, errorBody } from '../src/edge/kit/http/errors.ts';
import { isLoopback, START_SECRET_HEADER } from '../src/edge/kit/http/headers/hosts.ts';
import { createRequestId, OWN_ID } from '../src/edge/kit/http/headers/request-id.ts';

export interface ProxyOptions {
  /** The secret without which the Worker refuses a request. */
  secret: string;
  /** The addresses to listen on. One that this machine does not have is left out, unless it is the only one. */
  addresses: readonly string[];
  /** 0 chooses a port that is free on all addresses. */
  port: number;
  /** Files with a key and its certificate, for https. */
  tls?: { key: string; cert: string } | undefined;
  /** Whether other machines may call. They must use an IP address: a name could be made to point here by a web page. */
  isOpen?: boolean;
}

export interface DevProxy {
  port: number;
  /** Sets the address of the server. Before that every answer is a 503. */
  pointTo(port: number): void;
  /**
   * Says whether the last build failed. Until one succeeds every answer is a 503, that to a request which waits too: the
   * server behind keeps all of them.
   */
  setBroken(isBroken: boolean): void;
  /** Ends every connection. */
  close(): Promise<void>;
}

/** Headers that belong to one connection. An `upgrade` is handled separately. */
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'upgrade', 'expect']);

/** Paths of the local runtime under `/cdn-cgi/` that are allowed: reloading a page, and scheduled events, old names too. */
const SERVED = new Set([
  '/cdn-cgi/live-reload',
  '/cdn-cgi/local/scheduled',
  '/cdn-cgi/handler/scheduled',
  '/cdn-cgi/mf/scheduled',
]);

/** The limit of the local runtime. */
const maxHeaderSize = 128 * 1024;

/** How often to try to find a port that is free on every address. */
const TRIES = 20;

/**
 * Starts listening.
 *
 * @throws Error with the code EADDRINUSE where the port is taken on any of the addresses
 */
export async function startProxy(options: ProxyOptions): Promise<DevProxy> {
  let target: number | undefined;
  let isBroken = false;
  /** Of each request that waits for the head of its answer: what refuses it. */
  const waiting = new Set<(error: ApiError) => void>();
  const servers = await listenOnAll(options, () => {
    const server = serverOf(options);
    const open = new Set<Socket>();
    connections.set(server, open);
    server.on(options.tls ? 'secureConnection' : 'connection', (socket: Socket) => {
      open.add(socket.once('close', () => open.delete(socket)));
    });
    server.on('request', (incoming: IncomingMessage, response: ServerResponse) => {
      const fault = faultOf(incoming, options.isOpen === true, target, isBroken);
      if (fault) refuse(response, fault, incoming.headers.accept);
      else relay(incoming, response, options.secret, target ?? 0, waiting);
    });
    server.on('upgrade', (incoming: IncomingMessage, socket: Socket, head: Buffer) => {
      // Errors of a client that has left are ignored.
      socket.on('error', () => socket.destroy());
      const fault = faultOf(incoming, options.isOpen === true, target);
      if (fault) socket.end(headOf(fault.status, [['connection', 'close']]));
      else if (incoming.method !== 'GET') socket.end(headOf(400, [['connection', 'close']]));
      else upgrade(incoming, socket, head, options.secret, target ?? 0);
    });
    return server;
  });
  return {
    port: portOf(servers[0]),
    pointTo: (port) => {
      target = port;
    },
    setBroken: (next) => {
      isBroken = next;
      if (isBroken) for (const answer of waiting) answer(brokenBuild());
    },
    close: async () => {
      await Promise.all(servers.map(closed));
    },
  };
}

/** @returns the refusal of a request; undefined for a request that is passed on */
function faultOf(
  incoming: IncomingMessage,
  isOpen: boolean,
  target: number | undefined,
  isBroken = false,
): ApiError | undefined {
  const { headers, rawHeaders, url = '' } = incoming;
  const hosts = rawHeaders.filter((name, at) => at % 2 === 0 && name.toLowerCase() === 'host');
  // Of two `host` headers this server and the next one might choose different ones.
  if (hosts.length !== 1) return new ApiError('invalid_request_error', 'Send one `Host`.', DO_NOT_TRY);
  // The absolute form of a URL, meant for proxies, has another host in it.
  if (!url.startsWith('/')) {
    return new ApiError('invalid_request_error', 'Send the path alone, not a whole URL.', DO_NOT_TRY);
  }
  if (!isOurs(headers, isOpen)) {
    return new ApiError(
      'permission_error',
      'A development server answers to its own machine only: call it as http://localhost from a page on this machine.',
      DO_NOT_TRY,
    );
  }
  if (isInternal(url)) return new ApiError('not_found_error', 'There is nothing here.', DO_NOT_TRY);
  if (isBroken) return brokenBuild();
  return target === undefined ? unavailable('The edge is starting. Try again in a moment.') : undefined;
}

const DO_NOT_TRY: ErrorOptions = { headers: DO_NOT_RETRY };

/** @returns whether a request is meant for this machine, and was not sent by a web page from elsewhere */
function isOurs({ host = '', origin, ...headers }: IncomingMessage['headers'], isOpen: boolean): boolean {
  // Checked first: a URL parser also accepts a host after credentials, or before a path.
  if (!/^[\w.-]+(:\d+)?$|^\[[\da-f:.]+\](:\d+)?$/i.test(host)) return false;
  const named = `http://${host}`;
  const isAddressed = isOpen && isIP((URL.parse(named)?.hostname ?? '').replace(/^\[|\]$/g, '')) !== 0;
  if (!isLoopback(named) && !isAddressed) return false;
  if (origin !== undefined) {
    // (Two `origin` headers become a list, which is not a URL.)
    return isLoopback(origin) || (isAddressed && /^https?:\/\/(.*)$/.exec(origin)?.[1] === host);
  }
  // Pages load images, scripts and frames without an `origin`. Following a link is allowed.
  if (headers['sec-fetch-site'] !== 'cross-site') return true;
  return headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document';
}

/** @returns whether a path, in any encoding, belongs to the local runtime */
function isInternal(url: string): boolean {
  let path = URL.parse(`http://localhost${url}`)?.pathname ?? '';
  if (SERVED.has(path)) return false;
  try {
    path = URL.parse(`http://localhost${decodeURIComponent(path)}`)?.pathname ?? '';
  } catch {
    // A path that cannot be decoded does not belong to the runtime, which compares paths as they come.
  }
  return /^\/+(cdn-cgi|__cf_local)(\/|$)/i.test(path);
}

function relay(
  incoming: IncomingMessage,
  response: ServerResponse,
  secret: string,
  port: number,
  waiting: Set<(error: ApiError) => void>,
): void {
  const refuseWaiting = (error: ApiError) => refuse(response, error);
  waiting.add(refuseWaiting);
  // The inner server may close the connection before its answer is read, while the request is still being sent.
  const inner = innerRequest(incoming, secret, port, [['connection', 'keep-alive']]);
  inner.on('response', (answer) => {
    // It was refused, and this has come all the same.
    if (response.headersSent) return void answer.destroy();
    // Wrangler's own, with paths of this machine. Inside of it a connection that has rested is closed by one side while the
    // other still writes: it sends a GET again by itself, and nothing else.
    if (answer.statusCode === 500 && answer.headers[OWN_ID] === undefined) {
      answer.resume();
      return refuseWaiting(unanswered());
    }
    waiting.delete(refuseWaiting);
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage, passedOn(answer.rawHeaders).flat());
    response.flushHeaders();
    answer.pipe(response);
    // An interrupted body must not look complete.
    answer.on('close', () => {
      if (!answer.complete) response.destroy();
    });
  });
  inner.on('error', () => {
    // An answer may end before the request has been read completely.
    if (response.headersSent) return;
    refuse(response, unanswered());
  });
  // The client has left, or has received everything.
  response.on('close', () => {
    waiting.delete(refuseWaiting);
    inner.destroy();
  });
  incoming.pipe(inner);
}

function upgrade(incoming: IncomingMessage, socket: Socket, head: Buffer, secret: string, port: number): void {
  const wanted = incoming.headers.upgrade ?? '';
  const inner = innerRequest(incoming, secret, port, [
    ['connection', 'upgrade'],
    ['upgrade', wanted],
  ]);
  socket.on('close', () => inner.destroy());
  inner.on('upgrade', (answer, tunnel: Socket, first) => {
    socket.write(
      headOf(answer.statusCode ?? 101, [
        ...passedOn(answer.rawHeaders),
        ['connection', 'upgrade'],
        ['upgrade', answer.headers.upgrade ?? wanted],
      ]),
    );
    tunnel.on('error', () => socket.destroy());
    tunnel.on('close', () => socket.destroy());
    socket.on('close', () => tunnel.destroy());
    socket.unshift(head);
    tunnel.unshift(first);
    tunnel.pipe(socket);
    socket.pipe(tunnel);
  });
  inner.on('response', (answer) => {
    socket.write(headOf(answer.statusCode ?? 502, [...passedOn(answer.rawHeaders), ['connection', 'close']]));
    answer.pipe(socket);
  });
  inner.on('error', () => socket.end(headOf(503, [['connection', 'close']])));
  inner.end();
}

/** Makes the request that is passed on. It has its own connection, so that it ends with the client's. */
function innerRequest(incoming: IncomingMessage, secret: string, port: number, more: [string, string][]) {
  const { method, url: path, headers: given } = incoming;
  const hasBody = given['content-length'] !== undefined || given['transfer-encoding'] !== undefined;
  const headers = [
    ...passedOn(incoming.rawHeaders),
    ...more,
    // Without this, a request without a body would get an empty chunked body. A GET would get a body by it: if wrangler then
    // loses its connection to the Worker, it cannot send the request again, and never answers.
    ...(hasBody || method === 'GET' || method === 'HEAD' ? [] : [['content-length', '0']]),
    [START_SECRET_HEADER, secret],
  ];
  const options = { host: '127.0.0.1', port, method, path, headers: headers.flat(), agent: false, maxHeaderSize };
  const inner = request(options);
  inner.setNoDelay(true);
  return inner;
}

/** @returns the headers to pass on, without those of this connection, of the local runtime and of this proxy */
function passedOn(raw: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]?.toLowerCase() ?? '';
    if (HOP_BY_HOP.has(name) || name.startsWith('mf-') || name === START_SECRET_HEADER) continue;
    pairs.push([raw[at] ?? '', raw[at + 1] ?? '']);
  }
  return pairs;
}

/** @param accept what the client takes: a person who waits for the edge sees a page, which tries again by itself */
function refuse(response: ServerResponse, error: ApiError, accept = ''): void {
  const id = createRequestId();
  if (error.status === 503 && accept.includes('text/html')) {
    response.writeHead(503, { ...error.headers, 'content-type': 'text/html; charset=utf-8', 'request-id': id });
    response.end(
      `<!doctype html><html lang="en"><meta http-equiv="refresh" content="1"><meta name="color-scheme" content="light dark"><title>Sluice</title><p>${error.message}</p>`,
    );
    return;
  }
  response.writeHead(error.status, { ...error.headers, 'content-type': 'application/json', 'request-id': id });
  response.end(JSON.stringify(errorBody(error, id)));
}

function unanswered(): ApiError {
  return unavailable('The edge did not answer: it may be starting again. Try again in a moment.');
}

function brokenBuild(): ApiError {
  return unavailable('The build is broken, see the terminal. After the file is mended this works again by itself.');
}

function unavailable(sentence: string): ApiError {
  return new ApiError('api_error', sentence, { status: 503, headers: { 'retry-after': '1' } });
}

/** Writes the head of an answer to a bare socket. */
function headOf(status: number, headers: readonly (readonly [string, string])[]): string {
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines}\r\n`;
}

function serverOf({ tls }: ProxyOptions): Server {
  // No timeouts: streams and uploads may take any time.
  const limits = {
    requestTimeout: 0,
    keepAliveTimeout: 60_000,
    noDelay: true,
    maxHeaderSize,
    // A client that asks to upgrade to HTTP/2 is answered in HTTP/1.
    shouldUpgradeCallback: ({ headers }: IncomingMessage) => headers.upgrade?.toLowerCase() === 'websocket',
  };
  if (tls === undefined) return createServer(limits);
  return createSecureServer({ ...limits, key: readFileSync(tls.key), cert: readFileSync(tls.cert) });
}

/** All open connections. The server's own list does not have upgraded ones. */
const connections = new WeakMap<Server, Set<Socket>>();

/** Listens on all addresses with the same port. */
async function listenOnAll({ addresses, port }: ProxyOptions, make: () => Server): Promise<Server[]> {
  for (let attempt = 1; ; attempt += 1) {
    const servers: Server[] = [];
    try {
      for (const address of addresses) {
        const server = make();
        if (await listens(server, address, servers[0] ? portOf(servers[0]) : port)) servers.push(server);
      }
      if (servers.length > 0) return servers;
      throw new Error(`This machine has no address ${addresses.join(' or ')}.`);
    } catch (thrown) {
      await Promise.all(servers.map(closed));
      // The port is free on the first address, but taken on another.
      if (port !== 0 || servers.length === 0 || attempt === TRIES) throw thrown;
    }
  }
}

/** Listens on one address. @returns false if this machine does not have it, such as IPv6 if that is switched off */
function listens(server: Server, address: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRNOTAVAIL' || error.code === 'EAFNOSUPPORT') resolve(false);
      else reject(error);
    });
    server.listen({ port, host: address, ipv6Only: true }, () => resolve(true));
  });
}

function portOf(server: Server | undefined): number {
  const address = server?.address();
  if (typeof address !== 'object' || address === null) throw new Error('A server that listens has a port.');
  return address.port;
}

async function closed(server: Server): Promise<void> {
  for (const socket of connections.get(server) ?? []) socket.destroy();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}
