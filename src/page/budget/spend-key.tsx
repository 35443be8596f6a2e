import { getModelDisplayName } from '../edge/models.ts';
import { Identifier } from '../ui/identifier.tsx';

export const CALLS_WITHOUT_MODEL = 'Calls without a model: the list of models, files and batches.';
/** What a name in brackets says, in place of a model or of a value that requests are summed by. */
const KEY_EXPLANATIONS: Readonly<Record<string, string>> = {
  '(imported)': 'Earlier spending, restored from a backup, which contains only daily sums.',
  '(other)': 'All others: a day lists at most 200 values.',
  '(none)': CALLS_WITHOUT_MODEL,
  '(unknown)': 'All models that are not in the price table.',
  '(erased)': 'Spending of erased accounts.',
};

/** Shows what requests were summed by: a model by its display name, anything else as it is. */
export function SpendKeyLabel({ name, isModel = false }: { name: string; isModel?: boolean }) {
  const meaning = KEY_EXPLANATIONS[name];
  if (meaning !== undefined) return <abbr title={meaning}>{name}</abbr>;
  return isModel ? getModelDisplayName(name) : <Identifier id={name} />;
}
