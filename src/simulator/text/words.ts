// Of a longer text, read only both ends, because a question is usually near one of them. The length is in UTF-16 units.
const MAX_TEXT_CHARACTERS = 20_000;

const STOPWORDS = new Set(
  (
    'about above after again also another around because been before being below between both call called could does doing done ' +
    'down during each every from gets getting give given gives have having here into just know like made make makes many more most ' +
    'much must need needs only other over please provide provided provides return returned returns same shall should show shows some ' +
    'something such take tell than that their them then there these they thing things this those through tool tools under until upon ' +
    'used user users uses using very want wants well were what when where whether which while will with within without would your yours'
  ).split(' '),
);

/** Splits a text into words, in lower case and in their order; `camelCase` and `snake_case` are divided. */
export function splitWords(text: string): string[] {
  const part =
    text.length > MAX_TEXT_CHARACTERS
      ? text.slice(0, MAX_TEXT_CHARACTERS / 2) + text.slice(-MAX_TEXT_CHARACTERS / 2)
      : text;
  const divided = part.replace(/(\p{Ll})(\p{Lu})/gu, '$1 $2').toLowerCase();
  return divided.match(/[\p{L}\p{N}]+/gu) ?? [];
}

/** Takes the commonest English endings off a word, so that `invoices` meets `invoice` and `refunded` meets `refund`. */
export function removeWordEnding(word: string): string {
  if (word.length < 5) return word;
  return word.replace(/(ings?|edly|ed|ies|es|s|ly|e|y)$/, '');
}

/** Picks the words that tell what a text is about: four letters or more, and not the words of every sentence. */
export function listContentWords(text: string): string[] {
  return splitWords(text).filter((word) => word.length >= 4 && !STOPWORDS.has(word));
}

/** Makes the stems of the words that tell what a text is about. */
export function listContentStems(text: string): Set<string> {
  return new Set(listContentWords(text).map(removeWordEnding));
}

/** Shortens a text to one line of at most `length` characters, cut between words where that is possible. */
export function shortenToSingleLine(text: string, length: number): string {
  const line = text
    .slice(0, length * 4)
    .replace(/\s+/g, ' ')
    .trim();
  const characters = [...line];
  if (characters.length <= length) return line;
  const cut = characters.slice(0, length).join('');
  const space = cut.lastIndexOf(' ');
  return `${(space > length / 2 ? cut.slice(0, space) : cut).trimEnd()}…`;
}
