import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { cp, mkdir, readFile, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { createServer } from 'vite';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { unstable_readConfig } from 'wrangler';
import { createClient } from '#client/index.ts';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing, launchBrowser } from '#test/support/browser.ts';
import { bundleWorker } from '#test/support/bundle-worker.ts';
import { type Edge, startEdge, startSimulatingEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { codeBlocksOf, filesOfSection, readGuide } from '#test/support/guides.ts';
import { PackedProject } from '#test/support/packed-project.ts';
import { findFreePort } from '#test/support/processes.ts';
import { root } from '#test/support/root.ts';
import { SECRET } from '#test/support/tokens.ts';

const ASK = { model: 'claude-haiku-5-5', max_tokens: 50, messages: [{ role: 'user', content: 'Hello' }] };

/** An empty folder, in which the package is installed and nothing else but what it brings. */
let project: PackedProject;

beforeAll(async () => {
  project = await PackedProject.create(true);
});

afterAll(() => project.remove());

/** Starts a Worker of the project, under its own wrangler.toml. */
async function startOwn(
  folder: string,
  vars: Record<string, string>,
  how: { development?: string | undefined } = {
    development: join(project.folder, 'node_modules/sluice/dist/edge/development.js'),
  },
): Promise<Edge> {
  const place = join(project.folder, folder);
  const { main } = unstable_readConfig({ config: join(place, 'wrangler.toml') });
  return await startEdge(await bundleWorker(main, how), vars, undefined, place);
}

async function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

test('publint and attw find no problem in the packed package', async () => {
  const { tarball } = project;
  const pack = { tarball: tarball.buffer.slice(tarball.byteOffset, tarball.byteOffset + tarball.byteLength) };
  expect((await publint({ pack, strict: true })).messages).toEqual([]);
  const analysis = await checkPackage(createPackageFromTarballData(tarball));
  if (analysis.types === false) throw new Error('the package has no types');
  expect(Object.keys(analysis.entrypoints)).toEqual(
    expect.arrayContaining(['.', './client', './client/ai-sdk', './simulator']),
  );
  // An ES module is not required, and Node 10 knows no `exports`: both are as they should be.
  const old = ['node10', 'node16-cjs'];
  const problems = analysis.problems.filter(
    (problem) => !('resolutionKind' in problem && old.includes(problem.resolutionKind)),
  );
  expect(problems).toEqual([]);
});

test('the guide’s Worker, the template and a test type-check without skipLibCheck', async () => {
  await project.init('typed', '--plugins', 'all');
  await project.write(
    'own.test-d.ts',
    `import { Hono } from 'hono';
    import Anthropic from '@anthropic-ai/sdk';
    import { type AppEnv, type Prices, type Plugin, allPlugins, createApp, schemas, webhooks, type Conversation } from 'sluice';
    import { createSimulator } from 'sluice/simulator';
    const prices: Prices = { 'claude-haiku-5-5': { prices: { input: 1 } } };
    const edge = createApp({ prices, fetch: createSimulator(), authenticate: (request, c) => ({ account: request.url + c.req.path }) });
    const plugins: readonly Plugin[] = [webhooks, ...allPlugins];
    createApp({ plugins });
    // Fails to compile if the types of the package lack a member, or have one that is not listed.
    const members: Record<keyof Plugin, true> = {
      name: true, needs: true, routes: true, options: true, settings: true, bindings: true, queue: true, members: true,
      headers: true, classifyByBatch: true, providers: true, conversation: true, rows: true, copied: true, strategy: true,
      agents: true, guard: true, tools: true, account: true, dimensions: true, sharedBudgets: true, allAccounts: true,
      alertInbox: true, changeList: true, health: true, metrics: true, overview: true, failingTasks: true,
    };
    const own: Plugin = {
      name: 'own',
      needs: [webhooks],
      headers: ['sluice-own'],
      bindings: { OWN: 'Own' },
      health: () => ({}),
      account: { summed: (state) => void state.accountId },
      conversation: [{ createHooks: ({ transcript }) => ({ headers: () => ({ 'sluice-own': String(transcript.storedProfile?.turns) }) }) }],
    };
    void [members, own];
    // @ts-expect-error: not a plugin
    createApp({ plugins: ['webhooks'] });
    // @ts-expect-error: a caller without an account
    createApp({ authenticate: () => ({ scopes: ['messages'] }) });
    // @ts-expect-error: a price that the table does not have
    createApp({ prices: { x: { prices: { inputs: 1 } } } });
    // @ts-expect-error: not a part of the toolkit
    createApp({ isUnmetered: true });
    edge.get('/x', (c) => c.json({ account: c.get('identity').account.length }));
    new Hono<{ Bindings: { CONVERSATION: DurableObjectNamespace<Conversation> } }>().route('/ai', edge);
    new Hono<AppEnv>().route('/ai', edge);
    const usd: number | undefined = schemas.limitsSchema.parse({}).usd_per_day;
    void [usd, new Anthropic({ fetch: createSimulator() })];
    export default edge;`,
  );
  const guide = await readGuide('toolkit');
  const [shown = ''] = codeBlocksOf(guide, 'ts');
  expect(shown).toContain('createApp');
  await mkdir(join(project.folder, 'guide/src'), { recursive: true });
  for (const [name, code] of filesOfSection(guide, 'Write a plugin')) await project.write(`guide/${name}`, code);
  await project.write('guide/index.ts', shown);
  await project.write(
    'guide/session.ts',
    'export const sessionOf = async (request: Request) => (request.headers.has("cookie") ? { user: "u" } : undefined);',
  );
  const told = await readFile(join(project.folder, 'typed/tsconfig.json'), 'utf8');
  const { compilerOptions } = JSON.parse(told) as { compilerOptions: Record<string, unknown> };
  await project.typeCheck(['guide/index.ts'], compilerOptions);
  await project.typeCheck(['guide/src/index.ts'], compilerOptions);
  await project.typeCheck(['guide/index.ts'], { ...compilerOptions, module: 'esnext', moduleResolution: 'bundler' });
  await project.typeCheck(['own.test-d.ts', 'typed/src/index.ts'], {
    lib: ['es2024'],
    types: ['@cloudflare/workers-types'],
  });
});

test('a Worker with routes around the edge runs, with its own middleware and webhook', async () => {
  await project.init('example', '--plugins', 'all', '--no-page');
  await cp(join(root, 'test/fixtures/own-worker.ts'), join(project.folder, 'example/src/index.ts'));
  await project.typeCheck(['example/src/index.ts'], { lib: ['es2024'], types: ['@cloudflare/workers-types'] });
  const edge = await startOwn('example', {
    WEBHOOKS: '[{"source":"tickets","secret":"TICKETS_WEBHOOK_SECRET"}]',
    SIMULATOR_TTFT_MS: '0',
    SIMULATOR_TOKENS_PER_SECOND: '0',
    TICKETS_WEBHOOK_SECRET: 'the senders’ own secret',
  });
  try {
    const streamed = await post(`${edge.url}/ai/messages`, { ...ASK, conversation: 'c1' });
    expect([streamed.status, streamed.headers.get('x-served-by')]).toEqual([200, 'own-worker']);
    expect(await streamed.text()).toContain('event: message_stop');
    const rows = await fetch(`${edge.url}/ai/conversations/c1/messages`);
    expect(((await rows.json()) as { data: unknown[] }).data).toHaveLength(2);
    const summary = await post(`${edge.url}/summaries`, 'A long text about rivers.');
    expect(await summary.json()).toMatchObject({ type: 'message', role: 'assistant' });
    const usage = (await (await fetch(`${edge.url}/ai/usage?account=dev`)).json()) as { total: { requests: number } };
    expect(usage.total.requests).toBe(2);
    expect((await post(`${edge.url}/messages`, ASK)).status).toBe(404);

    const ticket = JSON.stringify({ id: 't1', text: 'I was charged twice, please check the billing.' });
    const signature = createHmac('sha256', 'the senders’ own secret').update(ticket).digest('hex');
    const forged = await post(`${edge.url}/ai/webhooks/tickets`, ticket, {
      'x-tickets-signature': `00${signature.slice(2)}`,
    });
    expect(forged.status).toBe(401);
    const taken = await post(`${edge.url}/ai/webhooks/tickets`, ticket, { 'x-tickets-signature': signature });
    expect(taken.status).toBe(202);
    const labelled = () => edge.log.find((line) => line.ticket === 'tickets_t1');
    await expect.poll(labelled).toMatchObject({ label: 'billing' });
  } finally {
    await edge.stop();
  }
});

test('the example with tools calls its own tool and one by URL in one run', async () => {
  await cp(join(root, 'examples/tools'), join(project.folder, 'tools'), { recursive: true });
  await project.typeCheck(['tools/index.ts'], { lib: ['es2024'], types: ['@cloudflare/workers-types'] });
  const TOOL_SIGNING_SECRET = `whsec_${btoa('a secret that both of them know')}`;
  const port = await findFreePort();
  const env = { ...process.env, TOOL_SIGNING_SECRET, PORT: String(port) };
  const server = spawn(process.execPath, [join(root, 'examples/tools/server.mjs')], { env, stdio: 'inherit' });
  const TOOL_HOSTS = `localhost:${port}`;
  const edge = await startOwn('tools', {
    SIMULATOR_TTFT_MS: '0',
    TOOL_HOSTS,
    TOOL_SIGNING_SECRET,
  });
  try {
    await expect.poll(() => fetch(`http://${TOOL_HOSTS}`).catch(() => undefined)).toBeDefined();
    const input_schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
    const weather = { name: 'get_weather', input_schema, run: { url: `http://${TOOL_HOSTS}/` } };
    const answer = await post(`${edge.url}/v1/messages`, {
      ...ASK,
      max_tokens: 4_000,
      conversation: 'c1',
      tools: [weather, { name: 'get_time', run: 'worker' }],
      messages: [{ role: 'user', content: 'What do get_weather and get_time say of Bern?' }],
    });
    const { content, stop_reason } = (await answer.json()) as { content: { content?: object }[]; stop_reason: string };
    expect(stop_reason).toBe('end_turn');
    expect(content.flatMap((block) => block.content ?? [])).toEqual(
      expect.arrayContaining([
        { type: 'text', text: '{"sky":"clear"}' },
        { type: 'text', text: expect.stringMatching(/^\{"time":"\d+:\d\d/) },
      ]),
    );
  } finally {
    server.kill();
    await edge.stop();
  }
});

test("a Worker's own fetch, prices and auth also apply in its Durable Objects, outside development", async () => {
  await project.init('own', '--plugins', 'all', '--no-page');
  await project.write(
    'own/src/index.ts',
    `import { allPlugins, createApp } from 'sluice';
    import { createSimulator } from 'sluice/simulator';
    export { Account, Batch, Conversation, Inbox, Pool } from 'sluice';
    export default createApp({
      plugins: allPlugins,
      fetch: createSimulator(),
      prices: { 'claude-haiku-5-5': { prices: { input: 1000, output: 2000, long_prompt: undefined } } },
      authenticate: (request) => {
        const account = request.headers.get('sluice-user');
        return account === null ? undefined : { account };
      },
    });`,
  );
  const edge = await startOwn('own', { ANTHROPIC_API_KEY: 'any' }, { development: undefined });
  const alice = { 'sluice-user': 'alice' };
  try {
    const costs: number[] = [];
    for (const more of [{}, { conversation: 'c1' }]) {
      const response = await post(`${edge.url}/v1/messages`, { ...ASK, ...more }, alice);
      const message = (await response.json()) as { usage: { input_tokens: number; output_tokens: number } };
      expect(response.status, JSON.stringify(message)).toBe(200);
      const { input_tokens, output_tokens } = message.usage;
      const cost = (input_tokens * 1_000 + output_tokens * 2_000) / 1_000_000;
      expect(Number(response.headers.get('sluice-cost-usd'))).toBeCloseTo(cost, 9);
      costs.push(cost);
      const streamed = await post(
        `${edge.url}/messages`,
        { ...ASK, ...more },
        { ...alice, 'sluice-stream-cost': 'true' },
      );
      const [, told] = /^: sluice-cost-usd=([\d.]+)$/m.exec(await streamed.text()) ?? [];
      costs.push(Number(told ?? 0));
    }
    const readJson = async (path: string) => await (await fetch(`${edge.url}${path}`, { headers: alice })).json();
    const readTotal = async () =>
      ((await readJson('/usage')) as { total: { requests: number; cost_usd: number } }).total;
    // A request is settled shortly after its answer has ended.
    await expect.poll(async () => (await readTotal()).requests).toBe(4);
    const { cost_usd } = (await readJson('/conversations/c1')) as { cost_usd: number };
    expect((await readTotal()).cost_usd).toBeCloseTo((costs[0] ?? 0) + (costs[1] ?? 0) + cost_usd, 9);
    const models = await fetch(`${edge.url}/models/claude-haiku-5-5`, { headers: alice });
    expect(await models.json()).toMatchObject({ prices: { input: 1000, output: 2000 } });
    expect((await post(`${edge.url}/messages`, ASK)).status).toBe(401);
  } finally {
    await edge.stop();
  }
});

test("the simulator works as the SDK's fetch in plain Node, with deterministic responses", async () => {
  await project.write(
    'simulated.mjs',
    `import Anthropic from '@anthropic-ai/sdk';
    import { createSimulator } from 'sluice/simulator';
    const fetch = createSimulator();
    const client = new Anthropic({ apiKey: 'any', fetch, maxRetries: 0 });
    const ask = { model: 'claude-haiku-5-5', max_tokens: 4_000, messages: [{ role: 'user', content: 'Weather in Bern?' }],
      tools: [{ name: 'get_weather', input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } }] };
    const whole = await client.messages.create(ask);
    const streamed = await client.messages.stream(ask).finalMessage();
    const { input_tokens } = await client.messages.countTokens({ model: ask.model, messages: ask.messages });
    const models = await client.models.list();
    const fault = await client.messages.create(ask, { headers: { 'sluice-simulate': 'status=529' } }).catch(({ status }) => status);
    const raw = await fetch(new Request('https://any.example/v1/models', { headers: { 'x-api-key': 'any', 'anthropic-version': '2023-06-01' } }));
    const said = ({ content }) => content.map(({ id, ...block }) => block);
    console.log(JSON.stringify({ whole: said(whole), streamed: said(streamed), reason: streamed.stop_reason, input_tokens, models: models.data.length, fault, raw: raw.status }));`,
  );
  const outcomes = await Promise.all([1, 2].map(() => project.run(process.execPath, ['simulated.mjs'])));
  const { whole, streamed, ...rest } = JSON.parse(outcomes[0] ?? '') as Record<string, unknown>;
  expect(whole).toEqual(streamed);
  expect(rest).toMatchObject({ reason: 'tool_use', fault: 529, raw: 200 });
  expect(rest.input_tokens).toBeGreaterThan(0);
  expect(rest.models).toBeGreaterThan(5);
  expect(outcomes[1]).toBe(outcomes[0]);
});

test.skipIf(isBrowserMissing())(
  'the page of the React guide chats, continues after a reload, and reports when it is offline',
  async () => {
    const folder = join(project.folder, 'chat');
    await mkdir(join(folder, 'src'), { recursive: true });
    const guide = await readGuide('react');
    const files = filesOfSection(guide, 'Make the folder');
    const inSource = ['token.ts', 'edge.ts', 'words.ts', 'main.tsx', 'style.css'].map((file) => `src/${file}`);
    expect([...files.keys()]).toEqual(['tsconfig.json', 'index.html', 'vite.config.ts', ...inSource]);
    for (const [file, code] of filesOfSection(guide, 'The server')) files.set(file, code);
    const serverPort = await findFreePort();
    const placed = (code: string) =>
      code.replace("server = 'http://localhost:3000'", `server = 'http://localhost:${serverPort}'`);
    for (const [file, code] of files) await project.write(`chat/${file}`, placed(code));
    await project.write('chat/package.json', '{ "type": "module" }');
    // What its install line brings beside the package.
    const [, installed = ''] = /npm install \.\.\/sluice\/\S+ (.*)\n/.exec(guide) ?? [];
    for (const wanted of installed.split(' ').filter((one) => one !== 'hono')) {
      const name = wanted.replace(/@\d+$/, '');
      await mkdir(dirname(join(project.folder, 'node_modules', name)), { recursive: true });
      await symlink(join(root, 'node_modules', name), join(project.folder, 'node_modules', name));
    }
    const port = await findFreePort();
    const site = `http://localhost:${port}`;
    const edge = await startSimulatingEdge({
      SIGNING_SECRET: SECRET,
      ALLOWED_ORIGINS: site,
      SIMULATOR_TTFT_MS: '20',
      SIMULATOR_TOKENS_PER_SECOND: '40',
    });
    await createClient({ baseURL: edge.url }).agents.put('support', { model: 'claude-haiku-5-5', max_tokens: 2_048 });
    const env = { ...process.env, SLUICE_URL: edge.url, PAGE_ORIGIN: site, PORT: String(serverPort) };
    const server = spawn(process.execPath, ['server.ts'], { cwd: folder, env, stdio: 'inherit' });
    vi.stubEnv('VITE_EDGE', edge.url);
    const vite = await createServer({ root: folder, server: { port, host: 'localhost' }, logLevel: 'error' });
    const browser = await launchBrowser();
    try {
      await vite.listen();
      const page = await browser.newPage();
      const faults: string[] = [];
      page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
      page.on('pageerror', ({ message }) => faults.push(message));
      page.setDefaultTimeout(240_000);
      const asked = { method: 'POST' };
      await eventually(async () =>
        expect((await fetch(`http://localhost:${serverPort}/chat-token`, asked)).status).toBe(401),
      );
      await page.goto(site);
      await page.getByRole('alert').getByText('Log in first.').waitFor();
      // The browser tells of the 401 itself.
      expect(faults.splice(0)).toEqual([expect.stringContaining('401')]);
      await page.getByRole('link', { name: 'Log in' }).click();
      await page.getByText('Ask something.').waitFor();
      // Long enough that it still runs when a slow machine has loaded the page again.
      const question = 'Tell me about rivers in 400 words';
      await page.getByRole('textbox').fill(question);
      await page.keyboard.press('Enter');
      await page.getByText('This is').waitFor();
      await page.reload();
      await page.getByText(question, { exact: true }).waitFor();
      await page.getByRole('button', { name: 'Stop' }).waitFor();
      await page.getByRole('button', { name: 'Send', exact: true }).waitFor();
      expect(await page.locator('article').count()).toBe(2);
      expect(await findBarriers(page)).toEqual([]);
      expect(faults).toEqual([]);

      await page.route(`${edge.url}/**`, (route) => route.abort());
      await page.reload();
      await page.getByRole('alert').getByText('The chat cannot be reached.').waitFor();
      await page.unroute(`${edge.url}/**`);
      await page.getByRole('button', { name: 'Try again' }).click();
      await page.getByText(question, { exact: true }).waitFor();
    } finally {
      await browser.close();
      server.kill();
      await vite.close();
      await edge.stop();
    }
  },
);
