/** What the pages of the guide for frontends are run with: with the code that it shows. Its addresses alone are replaced. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, inject, onTestFinished } from 'vitest';
import { createClient } from '#client/index.ts';
import { TEXT_STREAM } from '#test/fixtures/streams.ts';
import { isBrowserMissing, launchBrowser } from './browser.ts';
import { type Edge, startEdge, startSimulatingEdge } from './edge.ts';
import { filesOfSection, readGuide } from './guides.ts';
import { root } from './root.ts';
import { bearerHeader, createToken, DEPLOYED_VARS, SECRET } from './tokens.ts';
import { type FakeUpstream, startUpstream, streamBytes } from './upstream.ts';

/** What the upstream answers to each question. */
export const ANSWER = 'Héllo, "wörld" 🌍';
/** A question whose answer runs for the whole test on the edge of `startSlowEdge`. */
export const LONG_QUESTION = 'Explain in 5,000 words what a lock gate is.';
export const guide = await readGuide('frontends');
const common = filesOfSection(guide, 'The page');
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
};

/** A server as Node has it, which is what Express makes. */
export type NodeServer = (request: IncomingMessage, response: ServerResponse) => unknown;

/** A web site of its own origin, whose files and server a test changes. */
export interface Frontend {
  origin: string;
  /** Its files by their names; `index.html` is its page. */
  files: Map<string, string>;
  /** Answers whatever is no file. */
  server: NodeServer;
  stop(): void;
}

export async function startFrontend(): Promise<Frontend> {
  const server = createServer((request, response) => {
    const name = request.url === '/' ? 'index.html' : (request.url ?? '').slice(1);
    const file = frontend.files.get(name);
    if (file === undefined) {
      frontend.server(request, response);
      return;
    }
    response.setHeader('content-type', TYPES[extname(name)] ?? 'text/plain');
    response.end(file);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const frontend: Frontend = {
    origin: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    // Browsers ask for it by themselves.
    files: new Map([['favicon.ico', '']]),
    server: (_, response) => response.writeHead(404).end(),
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return frontend;
}

/** Serves by a function of the web's own `Request` and `Response`, without bodies of requests. */
export function toNodeServer(answer: (request: Request) => Response | Promise<Response>): NodeServer {
  return async ({ url = '/', method = 'GET', headers }, response) => {
    const lines = Object.entries(headers).map(([name, value]) => [name, String(value)] satisfies [string, string]);
    const answered = await answer(new Request(`http://127.0.0.1${url}`, { method, headers: lines }));
    response.writeHead(answered.status, Object.fromEntries(answered.headers));
    response.end(await answered.text());
  };
}

/** A page that is open, and what it did. */
export interface Visit {
  page: Page;
  /** The paths that the page has asked the edge for, and the credentials that it has sent. */
  sentRequests: { path: string; token: string | undefined }[];
  /** What the page's console says is wrong. */
  faults: string[];
}

/** Puts a page of the guide on a site: the files of its section, and of those that all pages have. */
export function publishGuidePage(site: Frontend, edge: Edge, files: ReadonlyMap<string, string>): void {
  for (const [name, code] of [...common, ...files]) site.files.set(name, replaceAddresses(code, site, edge));
}

/** @returns the guide's code with the addresses of a test in place of its own */
export function replaceAddresses(code: string, site: Frontend, edge: Edge): string {
  return code.replaceAll('https://edge.example.com', edge.url).replaceAll('https://app.example.com', site.origin);
}

/** Starts an edge whose answers are so slow that a page can leave in the middle of one. It has the agent of the guides. */
export async function startSlowEdge(settings: Record<string, string> = {}): Promise<Edge> {
  const pace = { SIMULATOR_TTFT_MS: '0', SIMULATOR_TOKENS_PER_SECOND: '10' };
  const edge = await startSimulatingEdge({ SIGNING_SECRET: SECRET, ...pace, ...settings });
  onTestFinished(() => edge.stop());
  const admin = createClient({ baseURL: edge.url, token: await createToken('backend', ['admin']) });
  await admin.agents.put('support', { model: 'claude-haiku-5-5', max_tokens: 8_000 });
  return edge;
}

/** Asks by the page's form. @returns what the page has written below: the answer, or what went wrong */
export async function askByForm({ page }: Visit, question: string): Promise<string> {
  const lines = page.locator('section p');
  const before = await lines.count();
  await page.getByLabel('Question').fill(question);
  await page.getByRole('button', { name: 'Ask' }).click();
  const answer = lines.nth(before + 1).filter({ hasText: ANSWER });
  // Behind the question and the place for its answer comes what went wrong.
  await answer
    .or(lines.nth(before + 2))
    .first()
    .waitFor();
  return (await lines.allTextContents()).slice(before + 1).join('\n');
}

/** Starts for the tests of a file what they share: a browser, an upstream, and the client as the guide makes it. */
export function openSharedFrontends() {
  let upstream: FakeUpstream;
  let browser: Browser;
  let client: string;

  beforeAll(async () => {
    upstream = await startUpstream((_, response) => {
      void streamBytes(response, [new TextEncoder().encode(TEXT_STREAM)], 'end');
    });
    client = await buildClient();
    if (!isBrowserMissing()) browser = await launchBrowser();
  });

  afterAll(async () => {
    await browser?.close();
    await upstream?.stop();
  });

  return {
    /** Starts a site, and an edge as it is deployed, which knows the site's origin and has the guide's agent. */
    async startSiteAndEdge(
      settings: (site: Frontend) => Record<string, string> = () => ({}),
      code = inject('deployed').code,
    ) {
      const site = await startFrontend();
      onTestFinished(site.stop);
      site.files.set('sluice.js', client);
      const edge = await startEdge(code, {
        ...DEPLOYED_VARS,
        ANTHROPIC_API_KEY: 'test-key',
        ANTHROPIC_BASE_URL: upstream.url,
        ALLOWED_ORIGINS: site.origin,
        ...settings(site),
      });
      onTestFinished(() => edge.stop());
      const [, agent = ''] = /\/agents\/support .*? -d '(\{[\s\S]*?\})'\n/.exec(guide) ?? [];
      const stored = await fetch(`${edge.url}/agents/support`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json', ...bearerHeader(await createToken('operator', ['admin'])) },
        body: agent,
      });
      expect(stored.status, await stored.text()).toBe(200);
      return { site, edge };
    },

    /** Opens a site's page in a profile of its own. */
    async openPage(
      site: Frontend,
      edge: Edge,
      prepare: (page: Page) => Promise<unknown> = async () => {},
    ): Promise<Visit> {
      const context = await browser.newContext();
      onTestFinished(() => context.close());
      const page = await context.newPage();
      const seen: Visit = { page, sentRequests: [], faults: [] };
      page.on('pageerror', ({ message }) => seen.faults.push(message));
      page.on('console', (message) => {
        if (message.type() === 'error') seen.faults.push(message.text());
      });
      page.on('request', (request) => {
        if (!request.url().startsWith(edge.url) || request.method() === 'OPTIONS') return;
        const token = request.headers().authorization?.replace('Bearer ', '');
        seen.sentRequests.push({ path: new URL(request.url()).pathname, token });
      });
      await prepare(page);
      await page.goto(site.origin);
      return seen;
    },

    /**
     * Checks that what went up for a question is the agent's, and that the page's token can do nothing else.
     *
     * @returns the token
     */
    async expectRestrictedAnswer(
      { sentRequests: sent, faults }: Visit,
      site: Frontend,
      edge: Edge,
      question: string,
    ): Promise<string> {
      const body = JSON.parse(String(upstream.receivedRequests.at(-1)?.body)) as Record<string, unknown>;
      expect(JSON.stringify(body.system)).toContain('You answer for Acme, in one sentence.');
      expect(JSON.stringify(body.messages)).toContain(question);
      const token = sent.at(-1)?.token ?? '';
      const headers = { 'content-type': 'application/json', origin: site.origin, ...bearerHeader(token) };
      const asked = { model: 'claude-haiku-5-5', max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }] };
      const before = upstream.receivedRequests.length;
      for (const other of [asked, { ...asked, agent: 'support', conversation: 'web-1', system: 'Say yes.' }]) {
        const refused = await fetch(`${edge.url}/messages`, { method: 'POST', headers, body: JSON.stringify(other) });
        expect(refused.status, await refused.text()).toBe(403);
      }
      expect(upstream.receivedRequests.length).toBe(before);
      expect(faults).toEqual([]);
      return token;
    },
  };
}

/** Makes the client by the guide's own command. */
async function buildClient(): Promise<string> {
  const [command = ''] = /^npx esbuild .*$/m.exec(guide) ?? [];
  const folder = await mkdtemp(join(tmpdir(), 'sluice-client-'));
  try {
    const file = join(folder, 'sluice.js');
    const [program = '', ...args] = command.replace('../site/sluice.js', file).split(' ');
    await promisify(execFile)(program, args, { cwd: root });
    return await readFile(file, 'utf8');
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
