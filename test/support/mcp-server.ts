/** MCP servers over loopback: the official SDK's own, and ones that answer as a test says. */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { createMcpHandler, McpServer as SessionlessServer } from '@modelcontextprotocol/server';
import { z } from 'zod';

/** How a server answers: with sessions or without, as JSON or as a stream of events. */
export interface McpMode {
  hasSessions: boolean;
  isJson: boolean;
}

export interface McpTestServer {
  url: string;
  /** `host:port`, as TOOL_HOSTS has it. */
  host: string;
  /** What has come, as `POST tools/call`. */
  requestedMethods: string[];
  headers: IncomingMessage['headers'][];
  /** The sessions that are open. */
  sessions: Map<string, unknown>;
  /** Calls that have begun, and those that were cancelled. */
  begun: unknown[];
  cancelled: unknown[];
  close(): Promise<void>;
}

/** A red pixel. */
export const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';

/** Serves requests on a free port of this machine. */
export async function startHttpServer(answer: RequestListener) {
  const server = createServer({ keepAliveTimeout: 0 }, answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { url: `http://${host}/mcp`, host, close };
}

/** Serves MCP by the official SDK. */
export async function startMcpServer({ hasSessions, isJson }: McpMode): Promise<McpTestServer> {
  const transports = new Map<string, StreamableHTTPServerTransport>();
  const served: Omit<McpTestServer, 'url' | 'host' | 'close'> = {
    requestedMethods: [],
    headers: [],
    sessions: transports,
    begun: [],
    cancelled: [],
  };
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const body = text === '' ? undefined : (JSON.parse(text) as { method?: string });
    served.requestedMethods.push(`${request.method} ${body?.method ?? ''}`.trim());
    served.headers.push(request.headers);
    const id = request.headers['mcp-session-id'];
    const known = typeof id === 'string' ? transports.get(id) : undefined;
    if (id !== undefined && !known) {
      response.writeHead(404).end('no such session');
      return;
    }
    const transport = known ?? (await connectServer());
    await transport.handleRequest(request, response, body);
  };
  const connectServer = async () => {
    const transport = new StreamableHTTPServerTransport({
      enableJsonResponse: isJson,
      ...(hasSessions
        ? {
            sessionIdGenerator: () => randomUUID(),
            onsessioninitialized: (id: string) => void transports.set(id, transport),
            onsessionclosed: (id: string) => void transports.delete(id),
          }
        : {}),
    });
    // The SDK's own types do not agree with `exactOptionalPropertyTypes`.
    await createMcpServer(served).connect(transport as Parameters<McpServer['connect']>[0]);
    return transport;
  };
  const http = await startHttpServer((request, response) => void answer(request, response));
  return { ...http, ...served };
}

const textContent = (content: string): CallToolResult => ({ content: [{ type: 'text', text: content }] });

function createMcpServer({ begun, cancelled }: Pick<McpTestServer, 'begun' | 'cancelled'>): McpServer {
  const server = new McpServer({ name: 'weather', version: '1.0.0' }, { capabilities: { logging: {} } });
  const city = z.object({ city: z.string() });
  server.registerTool(
    'get.weather',
    { description: 'Tells the weather.', inputSchema: city, annotations: { readOnlyHint: true } },
    ({ city }, { _meta }) => {
      begun.push(_meta?.['sluice/idempotency-key']);
      return city === 'Lima'
        ? { ...textContent('No weather of Lima is known.'), isError: true }
        : textContent(`sun in ${city}`);
    },
  );
  server.registerTool('book', { description: 'Books a trip.', inputSchema: city }, ({ city }, { _meta }) => {
    begun.push(_meta?.['sluice/idempotency-key']);
    return textContent(`booked ${city}`);
  });
  server.registerTool(
    'look',
    { title: 'Looks out of the window.', annotations: { idempotentHint: true } },
    (): CallToolResult => ({
      content: [
        { type: 'text', text: 'Here it is:' },
        // It says another type than it is.
        { type: 'image', data: PIXEL, mimeType: 'image/jpeg' },
        { type: 'image', data: btoa('<svg/>'), mimeType: 'image/svg+xml' },
        { type: 'audio', data: btoa('la'), mimeType: 'audio/wav' },
        { type: 'resource_link', uri: 'https://example.com/a', name: 'a', mimeType: 'text/plain' },
        { type: 'resource', resource: { uri: 'file:///b', text: 'what b says' } },
        { type: 'resource', resource: { uri: 'file:///c', blob: PIXEL } },
      ],
    }),
  );
  server.registerTool(
    'measure',
    { outputSchema: z.object({ degrees: z.number() }) },
    (): CallToolResult => ({ content: [], structuredContent: { degrees: 21 } }),
  );
  server.registerTool('fail', {}, () => {
    throw new Error('The wind has blown it away.');
  });
  server.registerTool('wait', {}, async ({ signal }) => {
    begun.push('wait');
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    cancelled.push('wait');
    return textContent('too late');
  });
  server.registerTool('hold', { annotations: { idempotentHint: true } }, async ({ signal, _meta }) => {
    const key = _meta?.['sluice/idempotency-key'];
    const isAgain = begun.includes(key);
    begun.push(key);
    if (!isAgain)
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    return textContent('held at last');
  });
  server.registerTool('ask', {}, async ({ sendRequest, sendNotification }) => {
    await sendNotification({ method: 'notifications/message', params: { level: 'info', data: 'first' } });
    await sendRequest({ method: 'ping' }, z.looseObject({}));
    const refused = await sendRequest({ method: 'roots/list' }, z.looseObject({})).catch(
      (error: Error) => error.message,
    );
    return textContent(`answered: ${String(refused)}`);
  });
  server.registerTool('big', { inputSchema: z.object({ bytes: z.number() }) }, ({ bytes }) =>
    textContent('a'.repeat(bytes)),
  );
  return server;
}

/** Serves MCP by the official SDK's second version, which refuses whoever begins a session. */
export async function startSessionlessMcpServer() {
  const headers: Headers[] = [];
  const handler = createMcpHandler(
    () => {
      const server = new SessionlessServer({ name: 'weather', version: '1.0.0' });
      const inputSchema = z.object({ city: z.string() });
      server.registerTool('get.weather', { inputSchema, annotations: { readOnlyHint: true } }, ({ city }) => ({
        content: [{ type: 'text', text: `sun in ${city}` }],
      }));
      return server;
    },
    { legacy: 'reject' },
  );
  const http = await startHttpServer(async (request, response) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of request) chunks.push(chunk as Uint8Array);
    const sent = new Headers(request.headers as Record<string, string>);
    headers.push(sent);
    const answer = await handler.fetch(
      new Request(http.url, { method: 'POST', headers: sent, body: Buffer.concat(chunks) }),
    );
    response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(await answer.text());
  });
  return { ...http, headers };
}
