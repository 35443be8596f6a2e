/**
 * What stands between a development server and everybody else: it owns the public port, judges a request as it came on
 * the wire, and alone knows the secret that the Worker answers to.
 *
 * The local runtime behind it believes headers that anybody can send (`mf-original-url` is where a request came to), and
 * serves pages of its own that read all that is stored.
 */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { isIP, type Socket } from 'node:net';
import { ApiError, DO_NOT_RETRY, type ErrorOptions, errorBody } from '../src/http/errors.ts';
import { isLoopback, START_SECRET_HEADER } from '../src/http/hosts.ts';
import { createRequestId } from '../src/http/request-id.ts';

export interface ProxyOptions {
  /** What the Worker answers to. */
  secret: string;
  /** The addresses to listen on; one that this machine does not have is left out, if another is left. */
  addresses: readonly string[];
  /** 0 is any that is free, on all of the addresses. */
  port: number;
  /** Files of a key and its certificate, to speak https. */
  tls?: { key: string; cert: string } | undefined;
  /** Whether other machines may call: by an address, never by a name, which a page could make to point here. */
  isOpen?: boolean;
}

export interface DevProxy {
  port: number;
  /** Says where the server is; before that every answer is a 503. */
  pointTo(port: number): void;
  /** Ends every connection. */
  close(): Promise<void>;
}

/** They belong to one connection; what `upgrade` asks for is passed by itself. */
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'upgrade', 'expect']);

/** Of what the local runtime serves under `/cdn-cgi/`: the reload of a page, and scheduled events, by their old names too. */
const SERVED = new Set([
  '/cdn-cgi/live-reload',
  '/cdn-cgi/local/scheduled',
  '/cdn-cgi/handler/scheduled',
  '/cdn-cgi/mf/scheduled',
]);

/** As much as the local runtime takes. */
const maxHeaderSize = 128 * 1024;

/** Tries to find a port that is free on every address. */
const TRIES = 20;

/**
 * Starts listening.
 *
 * @throws Error with the code EADDRINUSE where the port is taken on any of the addresses
 */
export async function startProxy(options: ProxyOptions): Promise<DevProxy> {
  let target: number | undefined;
  const servers = await listenOnAll(options, () => {
    const server = serverOf(options);
    const open = new Set<Socket>();
    connections.set(server, open);
    server.on(options.tls ? 'secureConnection' : 'connection', (socket: Socket) => {
      open.add(socket.once('close', () => open.delete(socket)));
    });
    server.on('request', (incoming: IncomingMessage, response: ServerResponse) => {
      const fault = faultOf(incoming, options.isOpen === true, target);
      if (fault) refuse(response, fault);
      else relay(incoming, response, options.secret, target ?? 0);
    });
    server.on('upgrade', (incoming: IncomingMessage, socket: Socket, head: Buffer) => {
      // What a client sends that has gone is nobody's.
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
    close: async () => {
      await Promise.all(servers.map(closed));
    },
  };
}

/** @returns why a request is refused; undefined for one that is passed on. */
function faultOf(incoming: IncomingMessage, isOpen: boolean, target: number | undefined): ApiError | undefined {
  const { headers, rawHeaders, url = '' } = incoming;
  const hosts = rawHeaders.filter((name, at) => at % 2 === 0 && name.toLowerCase() === 'host');
  // Two servers would choose two different ones.
  if (hosts.length !== 1) return new ApiError('invalid_request_error', 'Send one `Host`.', DO_NOT_TRY);
  // The form that is meant for proxies names a host of its own.
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
  if (target === undefined) {
    return new ApiError('api_error', 'The edge is starting. Try again in a moment.', {
      status: 503,
      headers: { 'retry-after': '1' },
    });
  }
  return undefined;
}

const DO_NOT_TRY: ErrorOptions = { headers: DO_NOT_RETRY };

/** @returns whether a request was meant for this machine, and no page of another one has sent it. */
function isOurs({ host = '', origin, ...headers }: IncomingMessage['headers'], isOpen: boolean): boolean {
  // A URL's parser would also find a host behind credentials, or in front of a path.
  if (!/^[\w.-]+(:\d+)?$|^\[[\da-f:.]+\](:\d+)?$/i.test(host)) return false;
  const named = `http://${host}`;
  const isAddressed = isOpen && isIP((URL.parse(named)?.hostname ?? '').replace(/^\[|\]$/g, '')) !== 0;
  if (!isLoopback(named) && !isAddressed) return false;
  if (origin !== undefined) {
    // (Two of them make a list, which is no URL.)
    return isLoopback(origin) || (isAddressed && /^https?:\/\/(.*)$/.exec(origin)?.[1] === host);
  }
  // Pages also fetch without saying where they are from: pictures, scripts, frames. A link may be followed.
  if (headers['sec-fetch-site'] !== 'cross-site') return true;
  return headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document';
}

/** @returns whether a path is one of the local runtime's own, however it is written. */
function isInternal(url: string): boolean {
  let path = URL.parse(`http://localhost${url}`)?.pathname ?? '';
  if (SERVED.has(path)) return false;
  try {
    path = URL.parse(`http://localhost${decodeURIComponent(path)}`)?.pathname ?? '';
  } catch {
    // What cannot be decoded is no path of the runtime's: it compares what it is given.
  }
  return /^\/+(cdn-cgi|__cf_local)(\/|$)/i.test(path);
}

function relay(incoming: IncomingMessage, response: ServerResponse, secret: string, port: number): void {
  // An inner server that means to close may do so before its answer has been read, if the request is still on its way.
  const inner = innerRequest(incoming, secret, port, [['connection', 'keep-alive']]);
  inner.on('response', (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage, passedOn(answer.rawHeaders).flat());
    response.flushHeaders();
    answer.pipe(response);
    // A body that breaks off must not look as if it had ended.
    answer.on('close', () => {
      if (!answer.complete) response.destroy();
    });
  });
  inner.on('error', () => {
    // An answer may come, and end, before all of the request has been taken.
    if (!response.headersSent) refuse(response, unreachable());
  });
  // The client has left, or has had everything.
  response.on('close', () => inner.destroy());
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

/** The request as it is passed on: over a connection of its own, so that it ends with it. */
function innerRequest(incoming: IncomingMessage, secret: string, port: number, more: [string, string][]) {
  const { method, url: path, headers: given } = incoming;
  const hasBody = given['content-length'] !== undefined || given['transfer-encoding'] !== undefined;
  const headers = [
    ...passedOn(incoming.rawHeaders),
    ...more,
    // Or a request without a body would get an empty one, in pieces.
    ...(hasBody ? [] : [['content-length', '0']]),
    [START_SECRET_HEADER, secret],
  ];
  const options = { host: '127.0.0.1', port, method, path, headers: headers.flat(), agent: false, maxHeaderSize };
  const inner = request(options);
  inner.setNoDelay(true);
  return inner;
}

/** The headers that go on: not those of this connection, of the local runtime, or of this proxy. */
function passedOn(raw: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]?.toLowerCase() ?? '';
    if (HOP_BY_HOP.has(name) || name.startsWith('mf-') || name === START_SECRET_HEADER) continue;
    pairs.push([raw[at] ?? '', raw[at + 1] ?? '']);
  }
  return pairs;
}

function refuse(response: ServerResponse, error: ApiError): void {
  const id = createRequestId();
  response.writeHead(error.status, { ...error.headers, 'content-type': 'application/json', 'request-id': id });
  response.end(JSON.stringify(errorBody(error, id)));
}

function unreachable(): ApiError {
  return new ApiError('api_error', 'The edge did not answer: it may be starting again. Try again in a moment.', {
    status: 503,
    headers: { 'retry-after': '1' },
  });
}

/** The beginning of an answer, where nothing else writes it. */
function headOf(status: number, headers: readonly (readonly [string, string])[]): string {
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines}\r\n`;
}

function serverOf({ tls }: ProxyOptions): Server {
  // Streams last as long as they last; a body may take its time.
  const limits = {
    requestTimeout: 0,
    keepAliveTimeout: 60_000,
    noDelay: true,
    maxHeaderSize,
    // What asks for HTTP/2 as well is answered in HTTP/1.
    shouldUpgradeCallback: ({ headers }: IncomingMessage) => headers.upgrade?.toLowerCase() === 'websocket',
  };
  if (tls === undefined) return createServer(limits);
  return createSecureServer({ ...limits, key: readFileSync(tls.key), cert: readFileSync(tls.cert) });
}

/** A server's own list has not those that were upgraded. */
const connections = new WeakMap<Server, Set<Socket>>();

/** Listens on each address at the same port. */
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
      // Free on the first address, and taken on the second.
      if (port !== 0 || servers.length === 0 || attempt === TRIES) throw thrown;
    }
  }
}

/** @returns false for an address that this machine does not have, such as IPv6 where that is switched off. */
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
