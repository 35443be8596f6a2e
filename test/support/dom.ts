/** Renders parts of the page without a browser, in a file that begins with `@vitest-environment jsdom`. */
import { type ComponentChild, options, render } from 'preact';
import { expect, onTestFinished, vi } from 'vitest';
import { includedPlugins, type PluginName } from '#page/edge/plugins.ts';

/** The plugins on which the page depends. A name that is missing here is a type error. */
const ALL_PLUGINS: Record<PluginName, true> = {
  agents: true,
  batches: true,
  runs: true,
  summaries: true,
  transfer: true,
  webhooks: true,
  pools: true,
  operator: true,
};
const includeAllPlugins = () => {
  includedPlugins.value = new Set(Object.keys(ALL_PLUGINS));
};
includeAllPlugins();

// What follows a frame follows at once: a timer would ring when the document is gone.
options.requestAnimationFrame = queueMicrotask;

/** A request of the page. */
export interface PageRequest {
  method: string;
  /** With its query. */
  path: string;
  body: unknown;
}

/**
 * Answers the page's requests in place of the edge, for as long as a test runs. The page then knows all plugins until a test says
 * otherwise: files share its modules, and an earlier one may have read of fewer.
 *
 * @param answer gives a response, or what is answered as JSON
 * @returns what the page has asked so far
 */
export function installFakeEdge(answer: (request: PageRequest, headers: Headers) => unknown): PageRequest[] {
  const all: PageRequest[] = [];
  includeAllPlugins();
  vi.stubGlobal('fetch', async (url: string, { method = 'GET', body, headers }: RequestInit = {}) => {
    const { pathname, search } = new URL(url, location.origin);
    const sent = body === undefined || body === null ? undefined : JSON.parse(await new Response(body).text());
    const asked = { method, path: pathname + search, body: sent };
    all.push(asked);
    const said = await answer(asked, new Headers(headers));
    return said instanceof Response ? said : Response.json(said);
  });
  // Somebody with a mouse.
  vi.stubGlobal('matchMedia', () => ({ matches: true }));
  onTestFinished(() => void vi.unstubAllGlobals());
  return all;
}

/** @returns an answer as the edge refuses */
export function createErrorResponse(status: number, type: string, message: string): Response {
  return Response.json({ type: 'error', error: { type, message } }, { status });
}

/** Shows something for as long as a test runs. @returns the element in which it stands */
export function renderForTest(children: ComponentChild): HTMLElement {
  const root = document.body.appendChild(document.createElement('main'));
  render(children, root);
  onTestFinished(() => {
    render(null, root);
    root.remove();
  });
  return root;
}

/** Finds what can be pressed or filled in by its name, as a person does. @throws Error where there is none */
export function getElementByName<E extends HTMLElement = HTMLInputElement>(
  root: HTMLElement,
  name: string | RegExp,
): E {
  const matchesName = (text = '') => (typeof name === 'string' ? text === name : name.test(text));
  const byLabel = [...root.querySelectorAll('label')].find(
    ({ textContent, firstChild }) => matchesName(textContent ?? '') || matchesName(firstChild?.textContent ?? ''),
  );
  const all = [...root.querySelectorAll<E>('a, button, input, textarea, select, summary')];
  const found = all.find((one) => matchesName(one.ariaLabel ?? one.textContent ?? '') || one === byLabel?.control);
  if (!found) throw new Error(`There is no ${name} in ${root.innerHTML}`);
  return found;
}

/** Presses a button as soon as it can be pressed. */
export async function click(root: HTMLElement, name: string | RegExp): Promise<void> {
  await expect.poll(() => getElementByName<HTMLButtonElement>(root, name).disabled ?? false).toBe(false);
  getElementByName(root, name).click();
}

/** Replaces what stands in a field. */
export function fill(field: HTMLInputElement | HTMLTextAreaElement, text: string): void {
  field.value = text;
  field.dispatchEvent(new Event('input', { bubbles: true }));
}

/** Chooses a value. Where Preact plays React, as the chat has it do, a field's change is an input. */
export function chooseValue(field: HTMLSelectElement | HTMLInputElement, value: string): void {
  field.value = value;
  for (const name of ['input', 'change']) field.dispatchEvent(new Event(name, { bubbles: true }));
}

/** Waits for words in what is shown. */
export async function waitForText(root: HTMLElement, text: string | RegExp): Promise<void> {
  await expect.poll(() => root.textContent).toMatch(text);
}

/** Goes to a place of the page. */
export function navigateTo(hash: string): void {
  history.replaceState(null, '', hash);
  dispatchEvent(new HashChangeEvent('hashchange'));
}

/** Presses a key in a field. */
export function press(field: HTMLElement, key: string, more: KeyboardEventInit = {}): void {
  field.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more }));
}
