/** Which part is shown: the hash of the address, so that a reload and the back button lead where one was. */
import { computed, signal } from '@preact/signals';

export const PARTS = ['chat', 'classify', 'budget', 'wire'] as const;
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
    // Whoever wrote that address by hand gets what there is.
    return step;
  }
}

export const part = computed<PagePart>(() => PARTS.find((name) => name === steps.value[0]) ?? 'chat');

/** The conversation that the address names; undefined for a new one. */
export const conversationId = computed(() => (part.value === 'chat' ? steps.value[1] || undefined : undefined));

/** @param replace whether going back leads to before what is shown now */
export function go(to: PagePart, id?: string, replace = false): void {
  const next = `#/${to}${id === undefined ? '' : `/${encodeURIComponent(id)}`}`;
  if (replace) {
    history.replaceState(null, '', next);
    hash.value = next;
  } else location.hash = next;
}
