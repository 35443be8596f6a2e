/** Keeps the shown part in the hash of the URL, so that a reload and the back button work. */
import { computed, signal } from '@preact/signals';

export const PAGE_PARTS = ['chat', 'classify', 'agents', 'budget', 'wire'] as const;
export type PageSection = (typeof PAGE_PARTS)[number];

const locationHash = signal(location.hash);
addEventListener('hashchange', () => {
  locationHash.value = location.hash;
});
/** The address in the URL: its hash. */
export const currentAddress = computed(() => locationHash.value);

const pathSteps = computed(() => locationHash.value.replace(/^#\/?/, '').split('/').map(decodePathSegment));

function decodePathSegment(step: string): string {
  try {
    return decodeURIComponent(step);
  } catch {
    // A URL that was typed by hand may contain invalid percent escapes. Use such a step as it is.
    return step;
  }
}

export const currentPart = computed<PageSection>(
  () => PAGE_PARTS.find((name) => name === pathSteps.value[0]) ?? 'chat',
);

/** Whether the URL names no part. */
export const isStartAddress = computed(() => pathSteps.value[0] === '');

/** The address in the URL, where the page has nothing at it. Parts with addresses of their own judge these themselves. */
export const unknownAddress = computed(() => (isKnownPath(pathSteps.value) ? undefined : locationHash.value));

function isKnownPath([name = '', view = '', more]: readonly string[]): boolean {
  if (name === 'chat') return more === undefined;
  if (name === 'budget') return view === '' || BUDGET_VIEWS.some((each) => each === view);
  return name === '' || PAGE_PARTS.some((each) => each === name);
}

/** The conversation that the URL names; undefined for a new one. */
export const conversationId = computed(() =>
  currentPart.value === 'chat' ? pathSteps.value[1] || undefined : undefined,
);

/** The value in the URL that stands for a new agent. No agent's name begins like this. */
export const NEW_AGENT = '@new';
/** The agent that the URL names, or `NEW_AGENT`. */
export const agentName = computed(() => (currentPart.value === 'agents' ? pathSteps.value[1] || undefined : undefined));
/** Whether the URL selects that agent's form. */
export const isEditingAgent = computed(() => agentName.value !== undefined && pathSteps.value[2] === 'edit');

const BUDGET_VIEWS = ['overview', 'accounts', 'groups', 'requests', 'refused', 'failed', 'webhooks'] as const;
export type BudgetViewName = (typeof BUDGET_VIEWS)[number];
export const budgetView = computed<BudgetViewName>(
  () => BUDGET_VIEWS.find((name) => currentPart.value === 'budget' && name === pathSteps.value[1]) ?? 'overview',
);

/** The account, or the group, that the URL names. */
export const budgetName = computed(() =>
  currentPart.value === 'budget' ? pathSteps.value[2] || undefined : undefined,
);

/**
 * Navigates to a part.
 *
 * @param id what is shown there: the steps behind the part in the URL
 * @param replace whether it replaces the current entry of the history
 */
export function navigateToSection(to: PageSection, id: string | readonly string[] = [], replace = false): void {
  const next = `#/${[to, ...[id].flat().map(encodeURIComponent)].join('/')}`;
  if (replace) {
    history.replaceState(null, '', next);
    locationHash.value = next;
  } else location.hash = next;
}
