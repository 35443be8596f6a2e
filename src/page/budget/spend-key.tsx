import { getModelDisplayName } from '../edge/models.ts';

/** What a name in brackets says, in place of a model or of a value that requests are summed by. */
const KEY_EXPLANATIONS: Readonly<Record<string, string>> = {
  '(imported)': 'Spent before, and taken over from a backup: it has the sums of each day, not the models.',
  '(other)': 'A day has 200 values at most. These are the rest.',
  '(none)': 'Calls that name no model: the list of models, files and batches.',
  '(unknown)': 'All models that are not in the price table.',
  '(erased)': 'Spent by accounts that were erased.',
};

/** Shows what requests were summed by: a model by its display name, anything else as it is. */
export function SpendKeyLabel({ name, isModel = false }: { name: string; isModel?: boolean }) {
  const meaning = KEY_EXPLANATIONS[name];
  if (meaning !== undefined) return <abbr title={meaning}>{name}</abbr>;
  return isModel ? getModelDisplayName(name) : name;
}
