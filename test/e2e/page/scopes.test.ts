import type { Locator } from 'playwright-core';
import { describe, expect, inject, test } from 'vitest';
import { createClient } from '#client/index.ts';
import type { Scope } from '#edge/auth/identity/identity.ts';
import type { TokenRestrictions } from '#edge/auth/identity/only.ts';
import { isBrowserMissing } from '#test/support/browser.ts';
import { bundleWorker } from '#test/support/bundle-worker.ts';
import { startEdgeWithPage } from '#test/support/edge.ts';
import { openPage, openServedPage } from '#test/support/page.ts';
import { createToken } from '#test/support/tokens.ts';

const HAIKU = 'claude-haiku-5-5';
const VIEWS = [
  '#/',
  '#/chat/web-1',
  '#/chat/web-2',
  '#/classify',
  '#/agents',
  '#/agents/seller',
  '#/agents/seller/edit',
  '#/agents/@new',
  '#/budget',
  '#/budget/accounts',
  '#/budget/accounts/own',
  '#/budget/groups/red',
  '#/budget/requests',
  '#/budget/refused',
  '#/budget/failed',
  '#/budget/webhooks',
  '#/budget/webhooks/github',
  '#/wire',
];
const RESTRICTED: readonly Scope[] = ['messages', 'classify'];
const AGENTS = { agents: ['own:seller'] };
const TOKENS: [title: string, scopes: readonly Scope[], only?: TokenRestrictions][] = [
  ['messages', ['messages']],
  ['classify', ['classify']],
  ['prefixes', ['prefixes']],
  ['messages and prefixes', ['messages', 'prefixes']],
  ['tools', ['tools']],
  ['admin:read', ['admin:read']],
  ['admin:metrics', ['admin:metrics']],
  ['admin:backup', ['admin:backup']],
  ['admin', ['admin']],
  ['messages, restricted to agents', ['messages'], AGENTS],
  ['messages, restricted with approvals', ['messages'], { ...AGENTS, approvals: true }],
  ['messages, restricted with tools', ['messages'], { ...AGENTS, tools: 'shown', approvals: true }],
  ['messages, restricted to a pattern', ['messages'], { ...AGENTS, conversations: ['web-*'], max_requests: 9 }],
  ['messages, restricted to a conversation', ['messages'], { ...AGENTS, conversations: ['web-2'] }],
  ['classify, restricted to classifiers', ['classify'], { classifiers: ['own:tickets'] }],
  ['both, restricted to both', RESTRICTED, { ...AGENTS, classifiers: ['own:tickets'] }],
];
/** Everything that a person can press, choose or fill in. */
const CONTROLS =
  'a[href^="#"], button:enabled, summary, select:enabled, textarea:enabled, input:enabled:not([type=file])';
/** In a short run, one of so many controls is used. */
const SHORT_RUN_STRIDE = 24;

/** A control as it is listed. Its name is empty if it is not shown. */
interface Control {
  name: string;
  /** Whether it is the same in every view. */
  isShared: boolean;
}

interface ViewControl {
  view: string;
  /** The position among the controls of the view. */
  index: number;
}

/** Runs in the page. @returns the controls that are shown, by their positions */
function listControls(selector: string): Control[] {
  return [...document.querySelectorAll<HTMLElement>(selector)].map((element) => {
    const label = element instanceof HTMLInputElement ? element.labels?.[0]?.textContent : undefined;
    const text =
      element.ariaLabel ?? label ?? (element instanceof HTMLSelectElement ? element.name : element.textContent);
    const isShown = element.checkVisibility();
    return {
      name: isShown ? `${element.tagName} ${(text ?? '').replace(/[\d.:]+/g, '0').slice(0, 60)}` : '',
      isShared: element.closest('header.top, .tabs, .skip') !== null,
    };
  });
}

/** Uses a control as a person does. */
async function operateControl(control: Locator): Promise<void> {
  const kind = await control.evaluate((element) =>
    element instanceof HTMLInputElement ? element.type : element.tagName.toLowerCase(),
  );
  switch (kind) {
    case 'select': {
      const values = await control
        .locator('option')
        .evaluateAll((all) => all.map((one) => (one as HTMLOptionElement).value));
      await control.selectOption(values.at(-1) ?? '');
      return;
    }
    case 'textarea':
    case 'text':
    case 'search':
    case 'password':
      await control.fill('web-2');
      await control.press('Enter');
      return;
    case 'number':
      await control.fill('7');
      await control.press('Enter');
      return;
    case 'date':
    case 'datetime-local':
      return;
    default:
      await control.click({ timeout: 5_000 });
  }
}

describe.skipIf(isBrowserMissing())('The page with a token of a single scope, or a restricted one, in Chromium', () => {
  const server = openServedPage([], async () => {
    const code = await bundleWorker('test/fixtures/unthinking-worker.ts');
    const quick = { SIMULATOR_TTFT_MS: '0', SIMULATOR_TOKENS_PER_SECOND: '0' };
    return await startEdgeWithPage({ ...quick, GITHUB_WEBHOOK_SECRET: 'the secret of the tests' }, code);
  });

  /** Creates an account with an agent, a classifier, a prefix, and two conversations, of which the first waits for approval. */
  async function createWorld(): Promise<string> {
    const account = `world-${crypto.randomUUID().slice(0, 8)}`;
    const token = await createToken(account, ['messages', 'classify', 'prefixes', 'tools']);
    const client = createClient({ baseURL: server.url, token });
    const dice = { name: 'edge_dice', run: { worker: true, approval: 'always' } };
    const agent = { model: HAIKU, max_tokens: 200, tools: [dice] };
    await Promise.all([
      client.fetch('/agents/seller', { method: 'PUT', body: { ...agent, tool_choice: { type: 'any' } } }),
      client.classifiers.put('tickets', { labels: ['bug', 'other'] }),
      client.prefixes.put('handbook', { system: 'Be brief.', model: HAIKU }),
    ]);
    const ask = async (conversation: string, content: string) => {
      const messages = [{ role: 'user', content }];
      const body = { conversation, agent: 'seller', model: HAIKU, max_tokens: 200, messages };
      await (await client.fetch('/v1/messages', { method: 'POST', body })).text();
    };
    await ask('web-1', 'Roll the dice.');
    await client.fetch('/agents/seller', { method: 'PUT', body: agent });
    await ask('web-2', 'In one sentence: what is a lock?');
    return account;
  }

  /** Opens the page in a fresh world. `rejected` lists what was rejected with a 403 so far, as `method path`. */
  async function openWorld([, scopes, only]: (typeof TOKENS)[number]) {
    const account = await createWorld();
    const token = await createToken(account, scopes, only ? { only } : {});
    const opened = await openPage(server.browser, server.url, undefined, { token });
    const { page } = opened;
    const rejected: string[] = [];
    page.on('response', (response) => {
      if (response.status() === 403)
        rejected.push(`${response.request().method()} ${new URL(response.url()).pathname}`);
    });
    const settle = async () => {
      await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))));
      await expect.poll(() => opened.pending(), { interval: 20 }).toEqual([]);
    };
    const show = async (view: string) => {
      await page.evaluate(
        (hash) => {
          location.hash = hash;
        },
        view.replace('accounts/own', `accounts/${account}`),
      );
      await settle();
    };
    const listShown = async () => await page.evaluate(listControls, CONTROLS);
    await settle();
    return { ...opened, rejected, settle, show, listShown };
  }

  /** Uses a control of a view, and everything that it opens. @returns what was rejected */
  async function operateInFreshWorld(token: (typeof TOKENS)[number], { view, index }: ViewControl): Promise<string[]> {
    const { page, rejected, settle, show, listShown, close } = await openWorld(token);
    await show(view);
    const used = new Set((await listShown()).map(({ name }) => name));
    // A control may have disappeared with another one, or may be covered by what was opened.
    await operateControl(page.locator(CONTROLS).nth(index)).catch(() => {});
    await settle();
    for (const [at, { name, isShared }] of (await listShown()).entries()) {
      if (name === '' || isShared || used.has(name)) continue;
      used.add(name);
      await operateControl(page.locator(CONTROLS).nth(at)).catch(() => {});
      await settle();
    }
    // Deletions that can be undone happen at the latest when the page is left.
    await page.evaluate(() => dispatchEvent(new Event('pagehide')));
    await settle();
    await close();
    return rejected;
  }

  test.each(TOKENS)('receives no 403, whatever is used (%s)', async (...token) => {
    const { page, rejected, show, listShown, close } = await openWorld(token);
    const controls = new Map<string, ViewControl>();
    for (const view of VIEWS) {
      // This token cannot open the other conversation, and no link leads there.
      if (view === '#/chat/web-1' && token[2]?.conversations?.[0] === 'web-2') continue;
      await show(view);
      if ((await page.getByText(/^This page does not exist$/).count()) > 0) continue;
      for (const [index, { name, isShared }] of (await listShown()).entries())
        if (name !== '') controls.set(`${isShared ? 'every view' : view}: ${name}`, { view, index });
    }
    const found = [...rejected];
    await close();
    expect(controls.size).toBeGreaterThan(5);
    const isShort = inject('propertyRuns') < 1;
    const chosen = [...controls].filter((_, index) => !isShort || index % SHORT_RUN_STRIDE === 0);
    for (const [name, control] of chosen)
      found.push(...(await operateInFreshWorld(token, control)).map((rejection) => `${name}: ${rejection}`));
    expect(found).toEqual([]);
  });
});
