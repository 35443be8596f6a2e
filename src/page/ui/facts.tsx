import type { ComponentChildren } from 'preact';

interface FactsProps {
  facts: readonly (readonly [name: string, value: ComponentChildren])[];
  class?: string;
}

/** Shows values under their names; by default figures side by side. */
export function Facts({ facts, class: name = 'facts' }: FactsProps) {
  return (
    <dl class={name}>
      {facts.map(([term, value]) => (
        <div key={term}>
          <dt class="quiet">{term}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
