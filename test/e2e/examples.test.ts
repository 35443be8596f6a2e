import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, request as sendRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Client, createClient } from '#client/index.ts';
import { isBrowserMissing, launchBrowser } from '#test/support/browser.ts';
import { bundleForBrowser } from '#test/support/bundle.ts';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { tryFirstApp } from '#test/support/first-app.ts';

import { codeBlocksOf, readGuide } from '#test/support/guides.ts';

import { findFreePort } from '#test/support/processes.ts';
import { root } from '#test/support/root.ts';
import { startSite } from '#test/support/site.ts';
import { SECRET } from '#test/support/tokens.ts';
import { startTerminal } from './terminal.ts';

let edge: Edge;
let client: Client;

beforeAll(async () => {
  edge = await startSimulatingEdge({
    SIGNING_SECRET: SECRET,
    SIMULATOR_TTFT_MS: '50',
    SIMULATOR_TOKENS_PER_SECOND: '150',
  });
  client = createClient({ baseURL: edge.url });
});

afterAll(async () => await edge.stop());

// Each waits for answers at a pace: they wait at the same time.
test.concurrent('the writing assistant responds three times in a terminal, saves a draft, and shows the cost of the ledger', async () => {
  const cwd = await mkdtemp(join(tmpdir(), 'sluice-assistant-'));
  const env = { ...process.env, SLUICE_URL: edge.url, NO_COLOR: '1', TERM: 'dumb' };
  const command = `"${process.execPath}" "${join(root, 'examples/writing-assistant.ts')}" novel`;
  const costs: number[] = [];
  try {
    let terminal = startTerminal(command, { cwd, env });
    await terminal.see(/> $/);
    const say = async (text: string) => {
      terminal.type(`${text}\n`);
      const seen = await terminal.see(/\[\$([\d.]+) in \d+ turns\][^>]*> $/);
      costs.push(Number(/\[\$([\d.]+) in/.exec(seen)?.[1]));
      return seen;
    };
    expect(await say('Hello, I write a novel')).toContain('simulator');
    expect(await say('Please save this as a draft')).toMatch(/\[saved drafts\/.+\.md\][\s\S]* in 2 turns/);
    expect(await terminal.end()).toBe(0);
    // Another day: it is the same conversation.
    terminal = startTerminal(command, { cwd, env });
    await terminal.see(/6 messages so far[\s\S]*> $/);
    await say('How does it begin?');
    expect(await terminal.end()).toBe(0);

    const [file = ''] = await readdir(join(cwd, 'drafts'));
    expect(await readFile(join(cwd, 'drafts', file), 'utf8')).toMatch(/^# .+\n\n/);
    const { data } = await client.usage({ group_by: 'conversation' });
    const ledger = data.find(({ key }) => key === 'novel');
    expect(ledger?.requests).toBe(4);
    const told = costs.reduce((sum, cost) => sum + Math.round(cost * 1e9), 0);
    expect(told).toBe(Math.round((ledger?.cost_usd ?? 0) * 1e9));
    expect(told).toBeGreaterThan(0);
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
});

test.concurrent('the writing assistant saves a draft with a tool that the edge calls in the same turn', async () => {
  const cwd = await mkdtemp(join(tmpdir(), 'sluice-assistant-'));
  const secret = `whsec_${btoa('0123456789abcdef0123456789abcdef')}`;
  const env = { ...process.env, NO_COLOR: '1', TERM: 'dumb', PORT: '0', TOOL_SIGNING_SECRET: secret };
  const drafts = startTerminal(`"${process.execPath}" "${join(root, 'examples/tools/drafts.mjs')}"`, { cwd, env });
  const [, url = ''] = /saved at (http:\S+)/.exec(await drafts.see(/saved at http:\S+\/\s/)) ?? [];
  const own = await startSimulatingEdge({
    SIMULATOR_TTFT_MS: '50',
    SIMULATOR_TOKENS_PER_SECOND: '150',
    TOOL_HOSTS: new URL(url).host,
    TOOL_SIGNING_SECRET: secret,
  });
  try {
    const command = `"${process.execPath}" "${join(root, 'examples/writing-assistant.ts')}" edge`;
    const terminal = startTerminal(command, { cwd, env: { ...env, SLUICE_URL: own.url, SAVE_URL: url } });
    await terminal.see(/> $/);
    terminal.type('Please save this as a draft\n');
    const seen = await terminal.see(/in 1 turns\][^>]*> $/);
    const [, path = ''] = /\[Saved as (drafts\/.+\.md)\.\]/.exec(seen) ?? [];
    expect(await readFile(join(cwd, path), 'utf8')).toMatch(/^# .+\n\n/);
    expect(await terminal.end()).toBe(0);
    // A call that the edge has not signed saves nothing.
    const forged = await fetch(url, { method: 'POST', body: JSON.stringify({ input: { title: 'x', text: 'y' } }) });
    expect(forged.status).toBe(401);
    expect(await readdir(join(cwd, 'drafts'))).toHaveLength(1);
  } finally {
    await own.stop();
    drafts.type('\u0003');
    await drafts.end();
    await rm(cwd, { recursive: true, force: true });
  }
});

test.concurrent('the writing assistant responds to each line of piped input', async () => {
  const cwd = await mkdtemp(join(tmpdir(), 'sluice-assistant-'));
  const env = { ...process.env, SLUICE_URL: edge.url, NO_COLOR: '1' };
  try {
    const assistant = spawn(process.execPath, [join(root, 'examples/writing-assistant.ts'), 'piped'], { cwd, env });
    let printed = '';
    for (const stream of [assistant.stdout, assistant.stderr])
      stream.on('data', (part: Buffer) => {
        printed += part.toString();
      });
    assistant.stdin.end('Hello, I write a novel\nHow does it begin?\nAnd how does it end?');
    expect(await once(assistant, 'close'), printed).toEqual([0, null]);
    expect(printed.match(/ in 1 turns\]/g), printed).toHaveLength(3);
    const { data } = await client.conversations.messages('piped');
    const said = data.filter(({ role }) => role === 'user').map(({ content }) => JSON.stringify(content));
    expect(said.map((content) => /novel|begin|end/.exec(content)?.[0])).toEqual(['novel', 'begin', 'end']);
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
});

test.concurrent('the writing assistant stops a response at Ctrl+C, and continues afterwards', async () => {
  const cwd = await mkdtemp(join(tmpdir(), 'sluice-assistant-'));
  const env = { ...process.env, SLUICE_URL: edge.url, NO_COLOR: '1', TERM: 'dumb' };
  const command = `"${process.execPath}" "${join(root, 'examples/writing-assistant.ts')}" stopped`;
  try {
    const terminal = startTerminal(command, { cwd, env });
    await terminal.see(/> $/);
    terminal.type('Tell me a long story about the sea\n');
    await terminal.see(/simulator/);
    terminal.type('\u0003');
    await terminal.see(/in 1 turns\][^>]*> $/);
    const { data } = await client.conversations.messages('stopped');
    expect(data.map(({ status }) => status)).toEqual(['stopped', 'stopped']);
    terminal.type('Go on\n');
    await terminal.see(/in 1 turns\][^>]*> $/);
    expect(await terminal.end()).toBe(0);
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
});

test
  .skipIf(isBrowserMissing())
  .concurrent('the chat page shows a response, resumes it after a reload, and stops another one', async () => {
    const html = await readFile(join(root, 'examples/chat-page/index.html'), 'utf8');
    const script = await bundleForBrowser("import './examples/chat-page/chat.ts';");
    const site = await startSite(script, html.replace('chat.js', '/page.js'));
    const browser = await launchBrowser();
    try {
      const page = await browser.newPage();
      page.setDefaultTimeout(240_000);
      await page.goto(`${site.url}?edge=${encodeURIComponent(edge.url)}#page`);
      await page.fill('[name=text]', 'Tell me a long story');
      await page.press('[name=text]', 'Enter');
      await page.waitForFunction(() => (document.querySelector('.assistant')?.textContent ?? '').length > 20);
      await page.reload();
      const isPriced = () =>
        page.waitForFunction(() => document.querySelector('[role=status]')?.textContent?.startsWith('$'));
      await isPriced();
      const shown = () => page.locator('article').allTextContents();
      const answers = async () => {
        const { data } = await client.conversations.messages('page');
        const contents = data.filter(({ role }) => role === 'assistant').map(({ content }) => content);
        return contents.map((content) =>
          Array.isArray(content) ? content.map(({ text }) => text ?? '').join('') : content,
        );
      };
      expect(await shown()).toEqual(['Tell me a long story', ...(await answers())]);
      // An answer that ends between the two questions of the reloaded page is shown, too.
      await page.fill('[name=text]', 'A long story, please');
      await page.press('[name=text]', 'Enter');
      await page.waitForFunction(() => document.querySelectorAll('.assistant')[1]?.textContent);
      await page.route('**/stream*', async (route) => {
        await eventually(async () => expect((await client.conversations.get('page')).state).toBe('idle'));
        await route.continue();
      });
      await page.reload();
      await isPriced();
      const [first, second] = await answers();
      expect(await shown()).toEqual(['Tell me a long story', first, 'A long story, please', second]);
      // It has not ended when it is stopped, however slow the browser is.
      await page.setExtraHTTPHeaders({ 'sluice-simulate': 'thinking=0; silence-after=20' });
      await page.fill('[name=text]', 'And now a long story');
      await page.press('[name=text]', 'Enter');
      await page.waitForFunction(() => (document.querySelectorAll('.assistant')[2]?.textContent ?? '').length > 20);
      await page.click('[name=stop]');
      await page.waitForSelector('[name=stop]:disabled');
      const after = await client.conversations.messages('page');
      expect(after.data.map(({ status }) => status)).toEqual([
        ...Array(4).fill('complete'),
        ...Array(2).fill('stopped'),
      ]);
    } finally {
      await browser.close();
      site.stop();
    }
  });

test
  .skipIf(isBrowserMissing())
  .concurrent(
    "the first app has a budget for each user: Alice can continue after Bob's budget is exhausted",
    async () => {
      await tryFirstApp(edge.url);
      const { day } = (await (await client.fetch('/accounts/bob')).json()) as { day: { settled_usd: number } };
      expect(day.settled_usd).toBeGreaterThan(0);
      expect(day.settled_usd).toBeLessThanOrEqual(0.0028);
    },
  );

test.concurrent.each([
  ['first-app', {}],
  ['paid', { STRIPE_SECRET_KEY: 'sk_test_1', STRIPE_WEBHOOK_SECRET: 'whsec_of_the_tests' }],
])('the server of examples/%s says how to start Sluice if Sluice does not respond', async (example, secrets) => {
  const url = `http://localhost:${await findFreePort()}`;
  const env = { ...process.env, ...secrets, SLUICE_URL: url, PORT: '0' };
  const server = spawn(process.execPath, ['server.mjs'], { cwd: join(root, 'examples', example), env });
  let printed = '';
  server.stderr.on('data', (part: Buffer) => {
    printed += part.toString();
  });
  expect(await once(server, 'close')).toEqual([1, null]);
  expect(printed).toBe(`Sluice does not respond at ${url}. Start it with npm start, and wait for “Ready”.\n`);
});

test('the guide to the first steps quotes lines of the first app unchanged', async () => {
  const files = ['server.mjs', 'index.html'].map((file) => readFile(join(root, 'examples/first-app', file), 'utf8'));
  const app = (await Promise.all(files)).join('');
  const [shown = ''] = codeBlocksOf(await readGuide('first-steps'), 'js');
  const lines = shown.split('\n').filter((line) => line !== '' && !line.startsWith('//'));
  expect(lines.length).toBeGreaterThan(3);
  expect(lines.filter((line) => !app.includes(line))).toEqual([]);
});

const asked = async (url: string) => {
  const { stdout } = await promisify(execFile)(process.execPath, [join(root, 'examples/incident.ts'), '--yes'], {
    env: { ...process.env, SLUICE_URL: url },
  });
  expect(stdout).toContain('It asks for edge_rollback {"service":"checkout"}.');
  expect(stdout).toMatch(/edge_rollback answered .*would_roll_back/);
  expect(stdout.match(/sub_[0-9a-f]{32}/g)).toHaveLength(2);
  return stdout;
};

test.concurrent('the incident agent calls two subagents, asks a person, and prints the cost of each', async () => {
  const stdout = await asked(edge.url);
  expect(stdout).toMatch(/^incident: \$0\.0\d+$/m);
  expect(stdout).toMatch(/^log-reader: \$0\.0\d+$/m);
});

test.concurrent('the incident agent asks for approval even if the turn pauses between two of its requests, and reads a turn that ended in the meantime', async () => {
  // An empty list of approvals arrives only when it is no longer true, and who follows a turn finds that it has ended.
  const late = createServer(async (request, response) => {
    const { url: path = '', method, headers } = request;
    const followed = /conversations\/(.+)\/stream/.exec(path)?.[1];
    if (followed) await eventually(async () => expect((await client.conversations.get(followed)).state).toBe('idle'));
    const up = sendRequest(edge.url + path, { method, headers }, async (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      const conversation = /conversations\/(.+)\/approvals$/.exec(path)?.[1];
      if (method === 'GET' && conversation) {
        await eventually(async () => expect((await client.conversations.approvals(conversation)).data).toHaveLength(1));
      }
      answer.pipe(response);
    });
    request.pipe(up);
  });
  await new Promise<void>((resolve) => late.listen(0, '127.0.0.1', resolve));
  try {
    await asked(`http://127.0.0.1:${(late.address() as AddressInfo).port}`);
  } finally {
    late.close();
  }
});
