/** The React page of its guide, as it is before and after it is deployed. Its code is the guide's; addresses alone are replaced. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { decodeJwt } from 'jose';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createClient } from '../../../src/client/index.ts';
import { barriersOn } from '../../support/axe.ts';
import { noBrowser } from '../../support/browser.ts';
import { bundle } from '../../support/bundle.ts';
import { type Edge, startSimulatingEdge } from '../../support/edge.ts';
import { ANSWER, type Frontend, placed, serving, sharedFrontends, startFrontend } from '../../support/frontend.ts';
import { filesIn, readGuide } from '../../support/guides.ts';
import { root } from '../../support/root.ts';
import { tokenOf } from '../../support/tokens.ts';

const guide = await readGuide('react');
const { startBoth, visit } = sharedFrontends();

/** Puts the guide's page on a site, with other files in place of those of the same name. */
async function publishPage(site: Frontend, edge: Edge, others: ReadonlyMap<string, string> = new Map()) {
  const files = new Map([...filesIn(guide, 'Make the folder'), ...others]);
  const folder = await mkdtemp(join(tmpdir(), 'sluice-react-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  for (const [name, code] of files) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    const address = JSON.stringify(edge.url);
    await writeFile(join(folder, name), placed(code, site, edge).replace('import.meta.env.VITE_EDGE', address));
  }
  const main = await bundle(`import ${JSON.stringify(join(folder, 'src/main.jsx'))};`);
  site.files.set('main.js', main);
  site.files.set('src/style.css', files.get('src/style.css') ?? '');
  site.files.set('index.html', (files.get('index.html') ?? '').replace('/src/main.jsx', '/main.js'));
}

describe.skipIf(noBrowser())('the React page', () => {
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
      ALLOWED_ORIGINS: site.origin,
      TOOL_HOSTS: host,
      TOOL_SIGNING_SECRET: `whsec_${btoa('0123456789abcdef0123456789abcdef')}`,
      SIMULATOR_TTFT_MS: '0',
    });
    onTestFinished(() => edge.stop());
    const run = { url: `http://${host}/deploy`, approval: 'always' as const };
    const properties = { to: { enum: ['staging'] } };
    const deploy = { name: 'deploy', input_schema: { type: 'object' as const, properties, required: ['to'] }, run };
    const client = createClient({ baseURL: edge.url });
    // The id is the one that the guide's page has without a query.
    await client.conversations.create({ id: 'web-first', tools: [deploy] });
    await publishPage(site, edge);
    const seen = await visit(site, edge);
    await seen.page.getByRole('textbox').fill('Please deploy.');
    await seen.page.keyboard.press('Enter');
    await seen.page.getByRole('group', { name: 'Approval of deploy' }).waitFor();
    return { ...seen, calls: () => calls };
  }

  test.each(['Approve', 'Deny'])('asks before a call, and shows it once: %s', async (decision) => {
    const { page, faults, calls } = await openWaiting();
    expect(await page.getByRole('button', { name: 'Send' }).isDisabled()).toBe(true);
    expect(await barriersOn(page)).toEqual([]);
    // A page that is loaded again asks, too.
    await page.reload();
    const card = page.getByRole('group', { name: 'Approval of deploy' });
    await card.waitFor();
    expect([await card.count(), calls()]).toEqual([1, 0]);
    // The text that the tool gets, and not what the page has made of it.
    expect(await card.locator('pre').textContent()).toBe('{"to":"staging"}');
    await page.getByRole('button', { name: decision }).click();
    const told = decision === 'Approve' ? 'deploy done' : 'not done: ';
    await page.locator('.call').filter({ hasText: told }).waitFor();
    await page.locator('button:enabled', { hasText: 'Send' }).waitFor();
    const shown = async () => await page.locator('article').allInnerTexts();
    const before = await shown();
    expect(before).toHaveLength(2);
    expect([await page.locator('.call').count(), await card.count()]).toEqual([1, 0]);
    expect(calls()).toBe(decision === 'Approve' ? 1 : 0);
    await page.reload();
    await page.locator('.call').waitFor();
    expect(await shown()).toEqual(before);
    expect(faults).toEqual([]);
  });

  test('is deployed with the server’s route, and its token asks the agent alone', async () => {
    const { site, edge } = await startBoth();
    const files = filesIn(guide, 'Before you deploy it');
    const pageFiles = [...files].filter(([name]) => name.startsWith('src/'));
    expect(pageFiles.map(([name]) => name)).toEqual(['src/token.js', 'src/edge.js']);
    await publishPage(site, edge, new Map(pageFiles));
    const only = { agents: ['support'], conversations: ['web-*'], origins: [site.origin], approvals: true };
    const token = await tokenOf('alice', ['messages'], { only });
    site.server = serving(() => Response.json({ token }));
    const { page, sent, faults } = await visit(site, edge);
    await page.getByText('Ask something.').waitFor();
    await page.getByRole('textbox').fill('Where is my parcel?');
    await page.keyboard.press('Enter');
    await page.getByText(ANSWER).waitFor();
    expect(decodeJwt(sent.at(-1)?.token ?? '').only).toMatchObject({ agents: ['support'] });
    expect(faults).toEqual([]);
  });
});
