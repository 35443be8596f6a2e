// @vitest-environment jsdom
import '#test/support/without-layout.ts';
import { h } from 'preact';
import { beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { runLimits } from '#edge/registry/tools/run-limits.schema.ts';
import { agentDrafts } from '#page/agents/agent-draft.ts';
import { LIMIT_FIELDS } from '#page/agents/agent-fields.ts';
import { Agents } from '#page/agents/agents.tsx';
import { agents } from '#page/edge/agents.ts';
import { edgeToolNames } from '#page/edge/client.ts';
import { availableModels } from '#page/edge/models.ts';
import { includedPlugins } from '#page/edge/plugins.ts';
import {
  chooseValue,
  click,
  createErrorResponse,
  fill,
  getElementByName,
  installFakeEdge,
  navigateTo,
  renderForTest,
  waitForText,
} from '#test/support/dom.ts';

const HAIKU = 'claude-haiku-5-5';
/** The agents that are stored, by their names. */
let stored: Map<string, object>;
/** What the edge says of the next one that is sent. */
let refused: string | undefined;
/** What the edge says that agents have spent. */
let usedBy: object[];
let root: HTMLElement;

const contentOf = (name: string, fields: object) => ({
  type: 'agent',
  name,
  version: `${name}@0123456789`,
  owner: 'deployment',
  model: HAIKU,
  max_tokens: 200,
  approvers: 'owner',
  description: 'Keeps',
  updated_at: '2026-11-20T10:00:00Z',
  ...fields,
});
const field = (name: string) => getElementByName(root, name);
const type = async (name: string, text: string) => {
  fill(field(name), text);
  await expect.poll(() => field(name).value).toBe(text);
};
const invalid = () =>
  [...root.querySelectorAll<HTMLInputElement>('[aria-invalid=true]')].map((one) => one.labels?.[0]?.textContent);
const save = () => click(root, 'Store agent');

beforeEach(() => {
  stored = new Map();
  refused = undefined;
  usedBy = [];
  agents.value = undefined;
  agentDrafts.value = {};
  edgeToolNames.value = ['edge_clock', 'edge_dice'];
  availableModels.value = [
    {
      id: HAIKU,
      display_name: 'Claude Haiku 5.5',
      prices: { input: 1, output: 5, batch: { input: 0.5, output: 2.5 } },
    } as never,
  ];
  installFakeEdge(({ method, path, body }) => {
    if (path.startsWith('/usage?')) return { data: usedBy, total: {} };
    const name = decodeURIComponent(/^\/agents\/([^/?]+)/.exec(path)?.[1] ?? '');
    if (path.includes('/versions') || !name) {
      const rows = path.startsWith('/agents?') ? [...stored].map(([of, fields]) => contentOf(of, fields)) : [];
      return { data: rows, has_more: false };
    }
    if (method === 'DELETE') return stored.delete(name);
    if (method === 'PUT') {
      if (refused !== undefined) return createErrorResponse(400, 'invalid_request_error', refused);
      stored.set(name, body as object);
    }
    return contentOf(name, stored.get(name) ?? {});
  });
  onTestFinished(() => void vi.useRealTimers());
});

const open = (hash: string) => {
  navigateTo(hash);
  root = renderForTest(h(Agents, {}));
};

test('the list shows the day of an agent’s last run by any account, across all versions', async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-27T12:00:00Z') });
  for (const name of ['clerk', 'porter', 'guard']) stored.set(name, {});
  const used = (key: string, last_day: string) => ({ key, last_day, requests: 2, cost_usd: 0.01 });
  usedBy = [used('clerk@1', '2026-11-20'), used('clerk@2', '2026-11-22'), used('porter@1', '2026-11-27')];
  open('#/agents');
  await waitForText(root, 'Last run');
  const last = () =>
    [...root.querySelectorAll('tbody tr')].map((row) => row.querySelector('td:nth-child(5)')?.textContent);
  await expect.poll(last).toEqual(['22 Nov', 'today', '']);
});

test('an error from the API is shown at its field, which has the focus, until the field changes', async () => {
  open('#/agents/@new');
  await type('Name', 'clerk');
  await click(root, 'Tools as JSON');
  for (const [name, text, said] of [
    ['Model requests', '1000', 'limits.max_turns: expected at most 100'],
    ['Tools, as JSON', '[]', 'tools.0.run.url: name its host in TOOL_HOSTS'],
    ['More fields', '{"history": {"max_tokens": -1}}', 'history.max_tokens: expected at least 1'],
    ['Name', '-', 'The name of the agent must begin with a letter.'],
  ] as const) {
    await type(name, text);
    refused = said;
    await save();
    await expect.poll(invalid).toEqual([name]);
    expect(document.activeElement).toBe(field(name));
    expect(root.querySelector('[role=alert]')?.textContent).toContain(said.split(': ').at(-1));
    await type(name, name === 'Name' ? 'clerk' : '');
    await expect.poll(invalid).toEqual([]);
  }
  refused = undefined;
  // What cannot be read is not sent at all.
  await type('Tools, as JSON', '[{"name": ');
  await save();
  await expect.poll(invalid).toEqual(['Tools, as JSON']);
  expect(stored.size).toBe(0);
  await type('Tools, as JSON', '');
  for (const name of ['edge_clock', 'edge_dice']) await click(root, `Add ${name}`);
  await expect.poll(() => root.textContent).not.toContain('Add edge_');
  await save();
  await expect.poll(() => location.hash).toBe('#/agents/clerk');
  const tools = ['edge_clock', 'edge_dice'].map((name) => ({ name, run: 'worker' }));
  expect(stored.get('clerk')).toMatchObject({ model: HAIKU, tools });
});

test('form fields edit where a tool runs and whether it needs approval, and keep its other properties', async () => {
  const asked = { name: 'order', input_schema: { type: 'object', properties: { loaves: {} } }, cache_control: {} };
  stored.set('clerk', { tools: [asked, { type: 'web_search_20260209', name: 'web_search' }] });
  open('#/agents/clerk/edit');
  await waitForText(root, 'of the API');
  chooseValue(field('Run by'), 'http');
  await waitForText(root, 'URL');
  await type('URL', 'https://shop.example/order');
  field('needs approval').click();
  await click(root, 'Add edge_clock');
  await click(root, 'Remove the tool web_search');
  await click(root, 'Store as a new version');
  await expect
    .poll(() => stored.get('clerk'))
    .toMatchObject({
      tools: [
        { ...asked, run: { url: 'https://shop.example/order', approval: 'always' } },
        { name: 'edge_clock', run: 'worker' },
      ],
    });
});

test.each([
  [['agents', 'summaries'], 'summarize'],
  [['agents'], 'truncate'],
])('with the plugins %j, the example of other fields has a strategy that they support', async (plugins, strategy) => {
  includedPlugins.value = new Set(plugins);
  open('#/agents/@new');
  await waitForText(root, 'More fields, as JSON');
  const { history } = JSON.parse(field('More fields').placeholder) as { history: { strategy: string } };
  expect(history.strategy).toBe(strategy);
});

test('the form of an agent that chooses its model names the field with the choice', async () => {
  stored.set('router', { model: { by: 'level', models: { easy: HAIKU }, otherwise: HAIKU } });
  open('#/agents/router/edit');
  await waitForText(root, 'Chosen in “More fields”');
  expect(JSON.parse(field('More fields').value)).toHaveProperty('model.by', 'level');
});

test('a draft survives navigation and reload until it is stored, and a new agent does not overwrite an existing one', async () => {
  stored.set('clerk', {});
  open('#/agents/@new');
  await type('System prompt', 'You are a clerk.');
  navigateTo('#/agents');
  await waitForText(root, 'Continue the new agent');
  // As a reload finds it.
  expect(sessionStorage.getItem('sluice-agent-drafts')).toContain('You are a clerk.');
  navigateTo('#/agents/@new');
  await waitForText(root, 'not saved yet');
  expect(field('System prompt').value).toBe('You are a clerk.');
  await type('Name', 'clerk');
  await save();
  await expect.poll(invalid).toEqual(['Name']);
  expect(stored.get('clerk')).toEqual({});
  await type('Name', 'second');
  await save();
  await expect.poll(() => stored.get('second')).toMatchObject({ system: 'You are a clerk.' });
  expect(agentDrafts.value).toEqual({});
  navigateTo('#/agents/@new');
  await expect.poll(() => field('System prompt').value).toBe('');
  await type('Name', 'third');
  await click(root, 'Discard changes');
  await expect.poll(() => location.hash).toBe('#/agents');
  navigateTo('#/agents/@new');
  await waitForText(root, 'Cancel');
  expect(field('Name').value).toBe('');
});

test('Undo restores a deleted agent and its view, and without Undo the deletion is sent after 20 seconds', async () => {
  stored.set('keeper', {});
  open('#/agents/keeper');
  await click(root, 'Delete');
  await click(root, 'Undo deleting keeper');
  await waitForText(root, 'All agents');
  expect(location.hash).toBe('#/agents/keeper');
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  await click(root, 'Delete');
  await waitForText(root, 'Undo');
  await vi.advanceTimersByTimeAsync(19_000);
  expect(stored.size).toBe(1);
  await vi.advanceTimersByTimeAsync(2_000);
  await waitForText(root, 'No agents yet');
  expect(stored.size).toBe(0);
});

test('an agent that does not exist offers no actions and no form', async () => {
  installFakeEdge(() => createErrorResponse(404, 'not_found_error', 'There is no agent.'));
  open('#/agents/nobody');
  await waitForText(root, 'This agent does not exist');
  const offered = () => [...root.querySelectorAll('button')].map(({ textContent }) => textContent);
  expect(offered().filter((name) => ['Try', 'Edit', 'Delete'].includes(name ?? ''))).toEqual([]);
  open('#/agents/nobody/edit');
  await waitForText(root, 'This agent does not exist');
  expect(root.querySelector('form')).toBeNull();
  expect(root.querySelector('a')?.getAttribute('href')).toBe('#/agents');
});

test('the fields for run limits show the defaults as placeholders', async () => {
  open('#/agents/@new');
  await waitForText(root, 'Limits of each run');
  const defaults = { max_usd: 'none', max_seconds: 'none', ...runLimits.parse({}) };
  const placeholders = LIMIT_FIELDS.map(([path, label]) => [
    path.replace('limits.', ''),
    getElementByName<HTMLInputElement>(root, label).placeholder,
  ]);
  expect(Object.fromEntries(placeholders)).toEqual(
    Object.fromEntries(Object.entries(defaults).map(([name, value]) => [name, String(value)])),
  );
});
