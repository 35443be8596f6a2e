import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { request as secureRequest } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type DevProxy, startProxy } from '../../scripts/proxy.ts';

const SECRET = 'what the proxy alone knows';
const ADDRESSES = ['127.0.0.1', '::1'];

type Handler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;
const answerOk: Handler = (_, response) => void response.end('ok');

/** The server behind the proxy, which does as each test says. */
let inner: Server;
let handle: Handler = answerOk;
let reached: IncomingMessage[] = [];
let proxy: DevProxy;
let open: DevProxy;

const portOf = (server: Server) => (server.address() as AddressInfo).port;

beforeAll(async () => {
  inner = createServer((incoming, response) => {
    reached.push(incoming);
    void handle(incoming, response);
  });
  await once(inner.listen(0, '127.0.0.1'), 'listening');
  proxy = await startProxy({ secret: SECRET, addresses: ADDRESSES, port: 0 });
  open = await startProxy({ secret: SECRET, addresses: ['127.0.0.1'], port: 0, isOpen: true });
  for (const one of [proxy, open]) one.pointTo(portOf(inner));
});

beforeEach(() => {
  reached = [];
  handle = answerOk;
});

afterAll(async () => {
  await Promise.all([proxy.close(), open.close()]);
  inner.closeAllConnections();
  inner.close();
});

interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  body: string;
}

/** Sends a request with exactly these headers, which a `fetch` would not. */
async function send(path: string, headers: Record<string, string | string[]> = {}, to = proxy): Promise<Answer> {
  const outgoing = request({ host: '127.0.0.1', port: to.port, path, headers: { host: 'localhost', ...headers } });
  const [incoming] = (await once(outgoing.end(), 'response')) as [IncomingMessage];
  let body = '';
  for await (const piece of incoming) body += String(piece);
  return { status: incoming.statusCode ?? 0, headers: incoming.headers, body };
}

/** Sends bytes as they are. @returns all that is answered until the connection ends */
async function sendRaw(bytes: string): Promise<string> {
  const socket = connect(proxy.port, '127.0.0.1');
  socket.write(bytes);
  let answer = '';
  for await (const piece of socket) answer += String(piece);
  return answer;
}

/** A stream of what happens, one thing at a time. */
function happenings<T>() {
  const waiting: T[] = [];
  let arrived = () => {};
  return {
    add: (thing: T) => {
      waiting.push(thing);
      arrived();
    },
    next: async (): Promise<T> => {
      for (;;) {
        const [thing] = waiting.splice(0, 1);
        if (thing !== undefined) return thing;
        await new Promise<void>((resolve) => {
          arrived = resolve;
        });
      }
    },
  };
}

describe('who is let through', () => {
  test.each<[string, Record<string, string>]>([
    ['by name', { host: 'localhost:8787' }],
    ['by a name below it', { host: 'app.localhost' }],
    ['by IPv4', { host: '127.0.0.1:1' }],
    ['by another address of this machine', { host: '127.8.9.1' }],
    ['by IPv6', { host: '[::1]:8787' }],
    ['a page on this machine', { origin: 'http://localhost:3000' }],
    ['a page with a certificate', { origin: 'https://127.0.0.1:3000' }],
    [
      'a link from anywhere',
      { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' },
    ],
    ['a picture in a page on this machine', { 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors' }],
  ])('%s', async (_, headers) => {
    expect(await send('/health', headers)).toMatchObject({ status: 200, body: 'ok' });
    expect(reached).toHaveLength(1);
  });

  test.each<[string, Record<string, string>]>([
    ['another name', { host: 'evil.test' }],
    ['a name that ends like it', { host: 'evillocalhost' }],
    ['a name that begins like it', { host: 'localhost.evil.test' }],
    ['an address that a name is made of', { host: '127.0.0.1.nip.io' }],
    ['credentials in front of it', { host: 'evil.test@localhost' }],
    ['a path behind it', { host: 'localhost/x' }],
    ['another machine', { host: '192.168.1.5:8787' }],
    ['every address', { host: '0.0.0.0:8787' }],
    ['a page elsewhere', { origin: 'https://evil.test' }],
    ['a page without an origin', { origin: 'null' }],
    ['a page on another machine', { origin: 'http://192.168.1.5' }],
    ['an extension', { origin: 'chrome-extension://localhost' }],
    ['an app', { origin: 'capacitor://localhost' }],
    ['a file', { origin: 'file://localhost' }],
    ['an empty origin', { origin: '' }],
    ['a picture in a page elsewhere', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }],
    [
      'a frame in a page elsewhere',
      { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' },
    ],
    [
      'another name that claims to be this',
      { host: 'evil.test', 'mf-original-url': 'http://localhost/', 'x-forwarded-host': 'localhost' },
    ],
  ])('not %s', async (_, headers) => {
    const { status, body, headers: said } = await send('/health', headers);
    expect([status, said['x-should-retry']]).toEqual([403, 'false']);
    expect(JSON.parse(body)).toMatchObject({ type: 'error', error: { type: 'permission_error' } });
    expect(reached).toEqual([]);
  });

  test('not two hosts, nor none, nor an empty one, nor a whole URL in the place of a path', async () => {
    const lines = 'connection: close\r\n\r\n';
    for (const bytes of [
      `GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.test\r\n${lines}`,
      `GET / HTTP/1.1\r\nhost: localhost\r\nHost: localhost\r\n${lines}`,
      `GET / HTTP/1.1\r\n${lines}`,
      `GET / HTTP/1.0\r\n${lines}`,
      `GET http://localhost/ HTTP/1.1\r\nhost: localhost\r\n${lines}`,
      `OPTIONS * HTTP/1.1\r\nhost: localhost\r\n${lines}`,
      `POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n${lines}0\r\n\r\n`,
    ]) {
      expect(await sendRaw(bytes), bytes).toMatch(/^HTTP\/1\.1 400 /);
    }
    expect(await sendRaw(`GET / HTTP/1.1\r\nhost:\r\n${lines}`)).toMatch(/^HTTP\/1\.1 403 /);
    expect(reached).toEqual([]);
  });

  test('not before there is a server: that is a 503 to try again', async () => {
    const early = await startProxy({ secret: SECRET, addresses: ADDRESSES, port: 0 });
    expect(await send('/health', {}, early)).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    // A person who opens the page too early waits for it.
    const { status, headers, body } = await send('/', { accept: 'text/html,*/*' }, early);
    expect([status, headers['content-type']]).toEqual([503, 'text/html; charset=utf-8']);
    expect(body).toMatch(/http-equiv="refresh" content="1".*The edge is starting/);
    await early.close();
  });

  test('other machines by an address, where they were let in, and by no name', async () => {
    const host = '192.168.1.5:8787';
    for (const headers of [
      { host },
      { host, origin: `http://${host}` },
      { host: '[2001:db8::1]' },
      { host: 'localhost' },
    ]) {
      expect((await send('/health', headers, open)).status).toBe(200);
    }
    for (const headers of [
      { host: 'evil.test' },
      { host, origin: 'http://192.168.1.6:8787' },
      { host, origin: `http://evil.test` },
      { host: 'localhost', origin: 'http://192.168.1.5' },
    ]) {
      expect((await send('/health', headers, open)).status).toBe(403);
    }
  });
});

test('any bytes in a path, a name, a value or a body end one connection at the most', async () => {
  const bytes = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code));
  for (const byte of bytes) {
    for (const [path, header] of [
      [`/a${byte}b`, 'x: y'],
      ['/', `x${byte}: y`],
      ['/', `x: a${byte}b`],
      ['/', `content-length: ${byte}`],
      ['/', `connection: ${byte}, close`],
      ['/', `upgrade: websocket\r\nconnection: upgrade, ${byte}`],
    ]) {
      const socket = connect(proxy.port, '127.0.0.1');
      socket.on('error', () => {}).on('data', () => {});
      socket.end(`GET ${path} HTTP/1.1\r\nhost: localhost\r\n${header}\r\n\r\n`, 'latin1');
      await once(socket, 'close');
    }
  }
  expect((await send('/health')).status).toBe(200);
});

test('what the local runtime serves by itself is not there, however it is written, but for reloads and scheduled events', async () => {
  for (const path of [
    '/cdn-cgi/local/explorer/api',
    '/cdn-cgi/explorer',
    '/cdn-cgi/local/platform-proxy',
    '/cdn-cgi/handler/email',
    '/cdn-cgi/',
    '/cdn-cgi',
    '//cdn-cgi/local/explorer',
    '/./cdn-cgi/local/explorer',
    '/x/../cdn-cgi/local/explorer',
    '/x/%2e%2e/cdn-cgi/local/explorer',
    '/%63dn-cgi/local/explorer',
    '/cdn-cgi%2flocal/explorer',
    '/CDN-CGI/local/explorer',
    '/cdn-cgi\\local/explorer',
    '\\cdn-cgi/local/explorer'.replace(/^/, '/'),
    '/cdn-cgi/local/scheduled/../explorer',
    '/__cf_local/stream',
  ]) {
    expect((await send(path)).status, path).toBe(404);
  }
  expect(reached).toEqual([]);
  for (const path of [
    '/cdn-cgi/local/scheduled?cron=*',
    '/cdn-cgi/handler/scheduled',
    '/cdn-cgi/mf/scheduled',
    '/messages',
  ]) {
    expect((await send(path)).status, path).toBe(200);
  }
});

describe('a request', () => {
  test('goes on as it came, but for what is the local runtime’s or the proxy’s own', async () => {
    await send('/v1/messages?beta=true&a=%20', {
      host: 'localhost:8787',
      'X-Many': ['one', 'two'],
      'Anthropic-Beta': 'a,b',
      'MF-Original-URL': 'http://evil.test/',
      'mf-route-override': 'other',
      'sluice-start-secret': 'guessed',
      te: 'trailers',
    });
    const [one] = reached;
    expect([one?.method, one?.url]).toEqual(['GET', '/v1/messages?beta=true&a=%20']);
    expect(one?.rawHeaders.join(' ').toLowerCase()).not.toMatch(/mf-|guessed|trailers/);
    expect(one?.headers).toMatchObject({
      host: 'localhost:8787',
      'x-many': 'one, two',
      'anthropic-beta': 'a,b',
      'sluice-start-secret': SECRET,
    });
  });

  test.each(['POST', 'PUT', 'DELETE'])('by %s has its body, of whatever length, or none', async (method) => {
    handle = async (incoming, response) => {
      let length = 0;
      for await (const piece of incoming) length += (piece as Buffer).length;
      const { 'content-length': declared, 'transfer-encoding': coding } = incoming.headers;
      response.end(JSON.stringify([length, declared ?? null, coding ?? null]));
    };
    const sent = async (body: string | ReadableStream | undefined) => {
      const init = { method, body, duplex: 'half' } as RequestInit;
      return (await (await fetch(`http://localhost:${proxy.port}/x`, init)).json()) as unknown;
    };
    expect(await sent('x'.repeat(3_000_000))).toEqual([3_000_000, '3000000', null]);
    expect(await sent(new Blob(['four']).stream())).toEqual([4, null, 'chunked']);
    expect(await sent(undefined)).toEqual([0, '0', null]);
  });

  test.each(['GET', 'HEAD'])('by %s has no body, so that wrangler can repeat it', async (method) => {
    await (await fetch(`http://localhost:${proxy.port}/x`, { method })).text();
    const [{ headers } = { headers: {} }] = reached;
    expect(headers).toMatchObject({ 'sluice-start-secret': SECRET });
    expect(headers).not.toHaveProperty('content-length');
    expect(headers).not.toHaveProperty('transfer-encoding');
  });

  test('that is answered before all of it is there has its answer', async () => {
    handle = (_, response) => {
      response.writeHead(413);
      response.end('too large');
    };
    const outgoing = request({
      host: '127.0.0.1',
      port: proxy.port,
      method: 'POST',
      path: '/',
      headers: { host: 'localhost' },
    });
    outgoing.on('error', () => {});
    outgoing.write('x'.repeat(1_000_000));
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
    expect(incoming.statusCode).toBe(413);
    outgoing.destroy();
  });

  test('ends inside when its client has left, in the middle of the answer or of its own body', async () => {
    const ended = happenings<string>();
    const begun = happenings<string>();
    handle = (incoming, response) => {
      response.on('close', () => ended.add(incoming.url ?? ''));
      if (incoming.url === '/answer') response.write('a beginning');
      incoming.once('data', () => begun.add('body')).resume();
    };
    const answer = request({
      host: '127.0.0.1',
      port: proxy.port,
      path: '/answer',
      headers: { host: 'localhost' },
    }).end();
    answer.on('error', () => {});
    const [incoming] = (await once(answer, 'response')) as [IncomingMessage];
    await once(incoming, 'data');
    answer.destroy();
    expect(await ended.next()).toBe('/answer');
    const body = request({
      host: '127.0.0.1',
      port: proxy.port,
      method: 'POST',
      path: '/body',
      headers: { host: 'localhost' },
    });
    body.on('error', () => {});
    body.write('a beginning');
    await begun.next();
    body.destroy();
    expect(await ended.next()).toBe('/body');
  });
});

describe('an answer', () => {
  test('comes piece by piece, each before the next one is made', async () => {
    let write = (_: string) => {};
    handle = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'set-cookie': ['a=1', 'b=2'] });
      response.flushHeaders();
      write = (piece) => (piece === '' ? response.end() : response.write(piece));
    };
    const response = await fetch(`http://localhost:${proxy.port}/stream`);
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    const reader = (response.body ?? new ReadableStream<Uint8Array>()).getReader();
    for (let n = 0; n < 20; n += 1) {
      write(`event ${n}\n\n`);
      const { value } = await reader.read();
      expect(new TextDecoder().decode(value)).toBe(`event ${n}\n\n`);
    }
    write('');
    expect((await reader.read()).done).toBe(true);
  });

  test('that breaks off does not look as if it had ended', async () => {
    handle = (_, response) => {
      response.writeHead(200, { 'transfer-encoding': 'chunked' });
      response.write('a beginning', () => response.socket?.destroy());
    };
    const response = await fetch(`http://localhost:${proxy.port}/`);
    await expect(response.text()).rejects.toThrow();
  });

  test('of a server that is not there is a 503 to try again', async () => {
    const gone = await startProxy({ secret: SECRET, addresses: ['127.0.0.1'], port: 0 });
    gone.pointTo(9);
    const { status, body } = await send('/health', {}, gone);
    expect([status, JSON.parse(body)]).toMatchObject([503, { error: { type: 'api_error' } }]);
    await gone.close();
  });
});

describe('a WebSocket', () => {
  const asking = (headers: string) =>
    `GET /cdn-cgi/live-reload HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n${headers}\r\nearly`;

  test('is passed both ways, from its first byte on, and ends on both sides', async () => {
    const heard = happenings<string>();
    const sockets: Socket[] = [];
    inner.once('upgrade', (incoming: IncomingMessage, socket: Socket, head: Buffer) => {
      reached.push(incoming);
      sockets.push(socket);
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nx-a: b\r\n\r\nhello',
      );
      if (head.length > 0) heard.add(String(head));
      socket.on('data', (piece: Buffer) => heard.add(String(piece)));
      socket.on('end', () => heard.add('closed'));
    });
    const socket = connect(proxy.port, '127.0.0.1');
    socket.write(asking('host: localhost\r\nmf-original-url: http://evil.test/\r\n'));
    const said = happenings<string>();
    socket.on('data', (piece: Buffer) => said.add(String(piece)));
    let answer = '';
    while (!answer.endsWith('hello')) answer += await said.next();
    expect(answer).toMatch(/^HTTP\/1\.1 101 .*x-a: b/s);
    expect(reached[0]?.headers).toMatchObject({ 'sluice-start-secret': SECRET, upgrade: 'websocket' });
    expect(reached[0]?.headers).not.toHaveProperty('mf-original-url');
    expect(await heard.next()).toBe('early');
    socket.write('later');
    expect(await heard.next()).toBe('later');
    socket.destroy();
    expect(await heard.next()).toBe('closed');
  });

  test('of a page elsewhere is refused', async () => {
    for (const headers of ['host: evil.test\r\n', 'host: localhost\r\norigin: http://evil.test\r\n']) {
      expect(await sendRaw(asking(headers))).toMatch(/^HTTP\/1\.1 403 /);
    }
    expect(reached).toEqual([]);
  });

  test('that is refused inside is refused outside, and what asks for HTTP/2 is answered in HTTP/1', async () => {
    handle = (_, response) => {
      response.writeHead(404);
      response.end('nothing');
    };
    expect(await sendRaw(asking('host: localhost\r\n'))).toMatch(/^HTTP\/1\.1 404 .*nothing/s);
    handle = answerOk;
    const upgraded = 'GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close, Upgrade\r\nupgrade: h2c\r\n\r\n';
    expect(await sendRaw(upgraded)).toMatch(/^HTTP\/1\.1 200 /);
  });
});

test.skipIf(spawnSync('openssl', ['version']).status !== 0)(
  'https is spoken with a key and its certificate',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-tls-'));
    const tls = { key: join(folder, 'key.pem'), cert: join(folder, 'cert.pem') };
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const made = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', tls.key, '-out', tls.cert, ...subject];
    expect(spawnSync('openssl', made).status).toBe(0);
    const secure = await startProxy({ secret: SECRET, addresses: ['127.0.0.1'], port: 0, tls });
    secure.pointTo(portOf(inner));
    const ca = await readFile(tls.cert);
    const outgoing = secureRequest({ host: '127.0.0.1', servername: 'localhost', port: secure.port, path: '/', ca });
    outgoing.setHeader('host', 'localhost');
    const [incoming] = (await once(outgoing.end(), 'response')) as [IncomingMessage];
    expect(incoming.statusCode).toBe(200);
    incoming.resume();
    await secure.close();
    await rm(folder, { recursive: true });
  },
);

test('localhost is answered on IPv4 and on IPv6, at one port', async () => {
  const ipv6 = createServer();
  const hasIpv6 = await new Promise<boolean>((resolve) => {
    ipv6.once('error', () => resolve(false)).listen(0, '::1', () => resolve(true));
  });
  ipv6.close();
  for (const host of hasIpv6 ? ADDRESSES : ['127.0.0.1']) {
    const url = `http://${host.includes(':') ? `[${host}]` : host}:${proxy.port}/`;
    expect(await (await fetch(url)).text()).toBe('ok');
  }
});

test('a port that is taken on one of the addresses is taken', async () => {
  const blocker = createServer();
  await once(blocker.listen(0, '127.0.0.1'), 'listening');
  const port = portOf(blocker);
  for (const addresses of [['127.0.0.1'], ['::1', '127.0.0.1']]) {
    await expect(startProxy({ secret: SECRET, addresses, port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  }
  blocker.close();
  const then = await startProxy({ secret: SECRET, addresses: ADDRESSES, port });
  expect(then.port).toBe(port);
  await then.close();
});

test('while the build is broken every request is refused, one that waits too, and then they are passed on again', async () => {
  const arrived = happenings<ServerResponse>();
  handle = (_, response) => arrived.add(response);
  const outgoing = request({ host: '127.0.0.1', port: proxy.port, path: '/streamed', headers: { host: 'localhost' } });
  const streamed = once(outgoing.end(), 'response') as Promise<[IncomingMessage]>;
  const running = await arrived.next();
  running.write('begun, ');
  const [stream] = await streamed;
  const waiting = send('/waiting');
  await arrived.next();
  proxy.setBroken(true);
  for (const { status, headers, body } of [await waiting, await send('/new')]) {
    expect([status, headers['retry-after']]).toEqual([503, '1']);
    expect(JSON.parse(body)).toMatchObject({
      error: { type: 'api_error', message: expect.stringContaining('broken') },
    });
  }
  expect(reached.map(({ url }) => url)).toEqual(['/streamed', '/waiting']);
  running.end('and ended');
  expect((await stream.toArray()).join('')).toBe('begun, and ended');
  proxy.setBroken(false);
  handle = answerOk;
  expect(await send('/new')).toMatchObject({ status: 200, body: 'ok' });
});

test('a 500 of what stands between, which has lost the edge, is a 503 of the usual form; one of the edge itself is passed on', async () => {
  handle = (_, response) => void response.writeHead(500).end('Error: Network connection lost.\n    at the-stack.js');
  const { status, headers, body } = await send('/tokens');
  expect([status, headers['retry-after']]).toEqual([503, '1']);
  expect(JSON.parse(body)).toMatchObject({ type: 'error', error: { type: 'api_error' } });
  expect(body).not.toContain('the-stack');
  handle = (_, response) => void response.writeHead(500, { 'sluice-request-id': 'req_1' }).end('{}');
  expect(await send('/tokens')).toMatchObject({ status: 500, body: '{}' });
});
