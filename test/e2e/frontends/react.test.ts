/** The React page of its guide, as it is in development and deployed. Its code is the guide's; addresses alone are replaced. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { decodeJwt } from 'jose';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createClient } from '#client/index.ts';
import { findBarriers } from '#test/support/axe.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { bundleForBrowser } from '#test/support/bundle.ts';
import { type Edge, startSimulatingEdge } from '#test/support/edge.ts';
import { countFollowers } from '#test/support/followers.ts';
import {
  ANSWER,
  type Frontend,
  LONG_QUESTION,
  openSharedFrontends,
  replaceAddresses,
  startFrontend,
  startSlowEdge,
  toNodeServer,
} from '#test/support/frontend.ts';
import { filesOfSection, readGuide } from '#test/support/guides.ts';
import { root } from '#test/support/root.ts';
import { createToken, SECRET } from '#test/support/tokens.ts';
import { startUpstream, streamBytes } from '#test/support/upstream.ts';
import { contentBlock, messageEnd, messageStart } from '#test/support/wire.ts';

const guide = await readGuide('react');
const { startSiteAndEdge: startBoth, openPage: visit } = openSharedFrontends();

/** Puts the guide's page on a site, with other files in place of those of the same name. */
async function publishPage(site: Frontend, edge: Edge, others: ReadonlyMap<string, string> = new Map()) {
  const files = new Map([...filesOfSection(guide, 'Make the folder'), ...others]);
  const folder = await mkdtemp(join(tmpdir(), 'sluice-react-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  for (const [name, code] of files) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    const address = JSON.stringify(edge.url);
    await writeFile(
      join(folder, name),
      replaceAddresses(code, site, edge).replace('import.meta.env.VITE_EDGE', address),
    );
  }
  const main = await bundleForBrowser(`import ${JSON.stringify(join(folder, 'src/main.tsx'))};`);
  site.files.set('main.js', main);
  site.files.set('src/style.css', files.get('src/style.css') ?? '');
  site.files.set('index.html', (files.get('index.html') ?? '').replace('/src/main.tsx', '/main.js'));
}

describe.skipIf(isBrowserMissing())('the React page', () => {
  /** A site with the page, open on a conversation whose call of a tool waits. */
  async function openWaiting() {
    let calls = 0;
    const tools = createServer((_, response) => {
      calls += 1;
      response.writeHead(200, { 'content-type': 'text/plain' }).end('deployed');
    });
    await new Promise<void>((resolve) => tools.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void tools.close());
    const host = `127.0.0.1:${(tools.address() as AddressInfo).port}`;
    const site = await startFrontend();
    onTestFinished(site.stop);
    const edge = await startSimulatingEdge({
      SIGNING_SECRET: SECRET,
      ALLOWED_ORIGINS: site.origin,
      TOOL_HOSTS: host,
      TOOL_SIGNING_SECRET: `whsec_${btoa('0123456789abcdef0123456789abcdef')}`,
      SIMULATOR_TTFT_MS: '0',
    });
    onTestFinished(() => edge.stop());
    const run = { url: `http://${host}/deploy`, approval: 'always' as const };
    const properties = { to: { enum: ['staging'] } };
    const deploy = { name: 'deploy', input_schema: { type: 'object' as const, properties, required: ['to'] }, run };
    const token = await createToken('alice', ['messages', 'tools', 'prefixes']);
    const client = createClient({ baseURL: edge.url, token });
    await client.agents.put('support', { model: 'claude-haiku-5-5', max_tokens: 2_048, tools: [deploy] });
    site.server = toNodeServer(() => Response.json({ token }));
    await publishPage(site, edge);
    const seen = await visit(site, edge);
    await seen.page.getByRole('textbox').fill('Please deploy.');
    await seen.page.keyboard.press('Enter');
    await seen.page.getByRole('group', { name: 'Approval of deploy' }).waitFor();
    return { ...seen, calls: () => calls };
  }

  test.each(['Approve', 'Deny'])('asks for approval before a call, and shows the call once: %s', async (decision) => {
    const { page, faults, calls } = await openWaiting();
    expect(await page.getByRole('button', { name: 'Send', exact: true }).isDisabled()).toBe(true);
    expect(await findBarriers(page)).toEqual([]);
    // A page that is loaded again asks, too.
    await page.reload();
    const card = page.getByRole('group', { name: 'Approval of deploy' });
    await card.waitFor();
    expect([await card.count(), calls()]).toEqual([1, 0]);
    // The text that the tool gets, and not what the page has made of it.
    expect(await card.locator('pre').textContent()).toBe('{"to":"staging"}');
    await page.getByRole('button', { name: decision }).click();
    const told = decision === 'Approve' ? 'deploy: done' : 'deploy: not done';
    await page.getByText(told, { exact: true }).waitFor();
    await page.locator('button:enabled', { hasText: 'Send' }).waitFor();
    const shown = async () => await page.locator('article').allInnerTexts();
    const before = await shown();
    expect(before).toHaveLength(2);
    expect([await page.getByText('deploy: ').count(), await card.count()]).toEqual([1, 0]);
    expect(calls()).toBe(decision === 'Approve' ? 1 : 0);
    await page.reload();
    await page.getByText(told, { exact: true }).waitFor();
    expect(await shown()).toEqual(before);
    expect(faults).toEqual([]);
  });

  test('works with a restricted token, scrolls with the response, and asks a user without a session to log in', async () => {
    const { site, edge } = await startBoth();
    await publishPage(site, edge);
    site.server = ({ socket }) => void socket.destroy();
    const { page, sentRequests: sent, faults } = await visit(site, edge);
    await page.getByRole('alert').getByText('The chat cannot be reached now.').waitFor();
    faults.length = 0;
    site.server = toNodeServer(() => Response.json({ error: 'Log in first.' }, { status: 401 }));
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByRole('alert').getByText('Log in first.').waitFor();
    expect(await page.getByRole('link', { name: 'Log in' }).getAttribute('href')).toBe('/login');
    // The browser tells of the 401 itself.
    expect([sent, faults.splice(0)]).toEqual([[], [expect.stringContaining('401')]]);

    const only = { agents: ['support'], conversations: ['web-*'], origins: [site.origin], approvals: true };
    const token = await createToken('alice', ['messages'], { only });
    site.server = toNodeServer(() => Response.json({ token }));
    await page.setViewportSize({ width: 600, height: 300 });
    await page.reload();
    await page.getByText('Ask something.').waitFor();
    const ask = async (question: string) => {
      await page.getByRole('textbox').fill(question);
      await page.keyboard.press('Enter');
      await page.locator('article').filter({ hasText: question }).locator('+ article').getByText(ANSWER).waitFor();
    };
    for (const question of ['Where is my parcel?', 'And where is it now?', 'Who has it?']) await ask(question);
    expect(decodeJwt(sent.at(-1)?.token ?? '').only).toMatchObject({ agents: ['support'] });
    await page.getByText('Cost: less than 1 cent').nth(2).waitFor();
    const list = page.getByRole('region', { name: 'Conversation' });
    expect(await list.evaluate((box) => box.scrollHeight > box.clientHeight)).toBe(true);
    await expect.poll(() => page.getByText(ANSWER).last().evaluate(isInView)).toBe(true);
    // Whoever reads what came before is left alone until they ask.
    await list.evaluate((box) => box.scrollTo(0, -box.scrollHeight));
    expect(await page.getByText(ANSWER).last().evaluate(isInView)).toBe(false);
    await ask('Thank you?');
    await expect.poll(() => page.getByText(ANSWER).last().evaluate(isInView)).toBe(true);
    expect(faults).toEqual([]);
  });

  test('says that a response reached its maximum length if it consists only of thinking', async () => {
    const thinking = contentBlock({ type: 'thinking', thinking: '', signature: '' }, [
      { type: 'signature_delta', signature: 'c2ln' },
    ]);
    const answer = messageStart() + thinking + messageEnd({ output_tokens: 2_048 }, 'max_tokens');
    const upstream = await startUpstream((_, response) => {
      void streamBytes(response, [new TextEncoder().encode(answer)], 'end');
    });
    onTestFinished(() => upstream.stop());
    const { site, edge } = await startBoth(() => ({ ANTHROPIC_BASE_URL: upstream.url }));
    await publishPage(site, edge);
    const only = { agents: ['support'], conversations: ['web-*'], origins: [site.origin], approvals: true };
    const token = await createToken('alice', ['messages'], { only });
    site.server = toNodeServer(() => Response.json({ token }));
    const { page, faults } = await visit(site, edge);
    await page.getByRole('textbox').fill('What is a weir?');
    await page.keyboard.press('Enter');
    await page.locator('article').nth(1).getByText('This response reached its maximum length.').waitFor();
    expect(faults).toEqual([]);
  });

  test('closes its stream when it is reloaded or left during a response, and generation continues', async () => {
    const site = await startFrontend();
    onTestFinished(site.stop);
    const edge = await startSlowEdge({ ALLOWED_ORIGINS: site.origin });
    const only = { agents: ['support'], conversations: ['web-*'], origins: [site.origin], approvals: true };
    const pageToken = await createToken('alice', ['messages'], { only });
    site.server = toNodeServer(() => Response.json({ token: pageToken }));
    await publishPage(site, edge);
    const { page, faults } = await visit(site, edge);
    await page.getByRole('textbox').fill(LONG_QUESTION);
    await page.keyboard.press('Enter');
    const answer = page.locator('article').nth(1);
    await answer.getByText('simulator').waitFor();
    const token = await createToken('alice');
    const count = async () => await countFollowers(edge.url, token, 'web-first');
    await expect.poll(count).toBe(1);
    for (const _ of [1, 2, 3]) {
      await page.reload();
      await answer.getByText('simulator').waitFor();
      // Only of the page that is open.
      await expect.poll(count).toBe(1);
    }
    await page.goto('about:blank');
    await expect.poll(count).toBe(0);
    expect((await createClient({ baseURL: edge.url, token }).conversations.get('web-first')).state).toBe('running');
    expect(faults).toEqual([]);
  });
});

describe('the texts of the React page', () => {
  const load = async () => {
    const code = await bundleForBrowser(filesOfSection(guide, 'Make the folder').get('src/words.ts') ?? '');
    return (await import(`data:text/javascript,${encodeURIComponent(code)}`)) as {
      sentence(error: object): string;
      money(usd: number): string;
    };
  };

  test('state when a budget resets, without the error message of the API', async () => {
    const { sentence } = await load();
    const message = 'This request can cost up to $0.0011264; it resets at 2026-11-28T00:00:00.000Z.';
    const used = (share: string) => new Headers({ 'sluice-limited-by': 'account', 'sluice-budget-used': share });
    const again = String.raw`It is full again on \w+day, \w+ \d+ at \d+:\d\d [AP]M\.`;
    for (const [share, words] of [
      ['1', 'Your budget is used up.'],
      ['0.9999', 'Your remaining budget is too low for this response (about 1 %).'],
      ['0.26', 'Your remaining budget is too low for this response (about 74 %).'],
    ] as const) {
      const error = { type: 'billing_error', message, headers: used(share) };
      expect(sentence(error)).toBe(`${words} Ask us for more.`);
      const told = sentence({ ...error, retryAfter: 60 });
      expect(told.slice(0, words.length + 1)).toBe(`${words} `);
      expect(told.slice(words.length + 1)).toMatch(new RegExp(`^${again}$`));
    }
    const headers = new Headers({ 'sluice-limited-by': 'group', 'sluice-budget-used': '1' });
    expect(sentence({ type: 'billing_error', message, retryAfter: 60, headers })).toBe(
      'The shared budget is too low. Please contact us.',
    );
    for (const type of ['billing_error', 'rate_limit_error', 'connection_error', 'a_new_error'])
      expect(sentence({ type, message })).not.toMatch(/\$|\d{4}-|undefined/);
    expect(sentence({ type: 'authentication_error', message })).toBe('Log in first.');
  });

  test('round amounts of money to cents', async () => {
    const { money } = await load();
    expect([0.000279352, 0.0115, 1.2].map(money)).toEqual(['less than 1 cent', '$0.01', '$1.20']);
  });
});

/** Says whether an element is where the reader of its list sees it. */
function isInView(element: Element): boolean {
  const { top, bottom } = element.getBoundingClientRect();
  const box = element.closest('section')?.getBoundingClientRect();
  return box !== undefined && bottom > box.top && top < box.bottom;
}
