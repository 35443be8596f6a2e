/** Keeps the shown part in the hash of the URL, so that a reload and the back button work. */
import { computed, signal } from '@preact/signals';

export const PARTS = ['chat', 'classify', 'agents', 'budget', 'wire'] as const;
export type PagePart = (typeof PARTS)[number];

const hash = signal(location.hash);
addEventListener('hashchange', () => {
  hash.value = location.hash;
});

const steps = computed(() => hash.value.replace(/^#\/?/, '').split('/').map(decoded));

function decoded(step: string): string {
  try {
    return decodeURIComponent(step);
  } catch {
    // A URL that was typed by hand may be malformed: then it is taken as it is.
    return step;
  }
}

export const part = computed<PagePart>(() => PARTS.find((name) => name === steps.value[0]) ?? 'chat');

/** The address in the URL, where the page has nothing at it. Parts with addresses of their own judge these themselves. */
export const unknownAddress = computed(() => {
  const [name = '', , more] = steps.value;
  const isKnown = name === '' || (name === 'chat' ? more === undefined : PARTS.some((each) => each === name));
  return isKnown ? undefined : hash.value;
});

/** The conversation that the URL names; undefined for a new one. */
export const conversationId = computed(() => (part.value === 'chat' ? steps.value[1] || undefined : undefined));

/** What the URL has in place of a name while an agent is made: no name begins so. */
export const NEW_AGENT = '@new';
/** The agent that the URL names, or `NEW_AGENT`. */
export const agentName = computed(() => (part.value === 'agents' ? steps.value[1] || undefined : undefined));
/** Whether the URL asks for that agent's form. */
export const editsAgent = computed(() => agentName.value !== undefined && steps.value[2] === 'edit');

const BUDGET_VIEWS = ['overview', 'accounts', 'groups', 'requests', 'refused', 'failed', 'webhooks'] as const;
export type BudgetView = (typeof BUDGET_VIEWS)[number];
export const budgetView = computed<BudgetView>(
  () => BUDGET_VIEWS.find((name) => part.value === 'budget' && name === steps.value[1]) ?? 'overview',
);

/** The account, or the group, that the URL names. */
export const budgetName = computed(() => (part.value === 'budget' ? steps.value[2] || undefined : undefined));

/**
 * Goes to a part.
 *
 * @param id what is shown there: the steps behind the part in the URL
 * @param replace whether it replaces the current entry of the history
 */
export function go(to: PagePart, id: string | readonly string[] = [], replace = false): void {
  const next = `#/${[to, ...[id].flat().map(encodeURIComponent)].join('/')}`;
  if (replace) {
    history.replaceState(null, '', next);
    hash.value = next;
  } else location.hash = next;
}
