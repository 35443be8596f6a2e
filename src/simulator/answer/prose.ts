import type { RandomSource } from '../random/digest.ts';
import { findClosestSentence } from '../text/sentences.ts';
import { shortenToSingleLine } from '../text/words.ts';
import type { PromptContents } from './prompt-contents.ts';

/** The sentences of long answers: facts that help a user who tries the product. */
const FACTS = [
  'Every answer of mine has the header sluice-upstream: simulator, so no program can take it for Claude’s.',
  'Offer a tool whose name, or the first sentence of its description, shares a word with your message, and I call it with an input that satisfies its schema.',
  'Set tool_choice to any, or to a tool by name, and the call is certain.',
  'Send output_config.format with a JSON schema, and I answer with JSON that satisfies it.',
  'An enum in such a schema is chosen by the words that it shares with your text, so a classification looks sensible.',
  'Set stream to true, and the same answer comes as server-sent events, token by token.',
  'Thinking works as well: blocks come with a signature, and one that comes back altered is refused.',
  'Put a cache_control on a long system prompt and send it twice: the second time usage counts a read from the cache.',
  'The prompt cache forgets after five minutes, or after an hour if you ask for that.',
  'The same request always gets the same answer here; only its ids are new.',
  'Tokens are estimated, not counted by a real tokenizer; count_tokens and usage agree with each other.',
  'A stop sequence that I come to write ends the answer there, and max_tokens ends it in the middle of a sentence.',
  'Requests are checked as the API checks them, so an error that you see here is one that you would see there.',
  'An image is not looked at, only measured; its size decides how many tokens it takes.',
  'Enable citations on a document, and I quote the sentence that is closest to your question, with its place.',
  'Ask for five hundred words and you get about five hundred, which is good for watching a long stream.',
  'SIMULATOR_TTFT_MS and SIMULATOR_TOKENS_PER_SECOND set the pace at which I answer.',
  'The header sluice-simulate makes faults on demand: an error status, a cut, silence, a slow start.',
  'Nothing that you write here leaves this machine, and nothing of it costs anything.',
  'Budgets, conversations and webhooks work the same with me as with Claude, since only the upstream differs.',
  'A retired model answers 404 and names its replacement, here as there.',
  'One tool is called at a time; name several by their very names, and they are called in parallel, unless you disable that.',
  'What a tool answers I repeat, so that you can see that it has arrived.',
  'The web search tool finds pages that do not exist, so that you can try how results are shown.',
];

const REAL_ANSWERS_HINT =
  'For real answers set ANTHROPIC_API_KEY, in .dev.vars or with npm start -- --var ANTHROPIC_API_KEY:…, and start again.';

/** The length that the user requests. */
type RequestedAnswerLength = { unit: 'words' | 'sentences' | 'paragraphs'; countPhrase: number } | undefined;

const NUMERALS = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'];

/** Reads from a text how long the answer shall be: `in 300 words`, `in one sentence`, `write a long story`. */
function parseRequestedLength(text: string): RequestedAnswerLength {
  const part = text.slice(-2000).toLowerCase();
  const counted =
    /\b(\d{1,3}(?:,\d{3})+|\d{1,6}|one|two|three|four|five|six|seven|eight|nine|ten|a single|a)[ -](word|sentence|paragraph)s?\b/.exec(
      part,
    );
  if (counted !== null) {
    const [, amount = '', unit] = counted;
    const count = NUMERALS.indexOf(amount) + 1 || (amount.startsWith('a') ? 1 : Number(amount.replaceAll(',', '')));
    if (count > 0 && unit !== undefined)
      return { unit: `${unit}s` as 'words' | 'sentences' | 'paragraphs', countPhrase: count };
  }
  if (/\b(long|essay|story|in detail|detailed|at length|comprehensive)\b/.test(part))
    return { unit: 'words', countPhrase: 600 };
  if (/\b(brief|briefly|short|concise|shortly)\b/.test(part)) return { unit: 'sentences', countPhrase: 2 };
  return undefined;
}

function formatCountWithNoun(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}

function countWords(text: string): number {
  return text.split(/\s+/).filter((word) => word !== '').length;
}

/** Quotes a text at the end of a sentence, and adds a full stop if it has none. */
function quoteAtSentenceEnd(text: string): string {
  return /[.!?…]$/.test(text) ? `“${text}”` : `“${text}”.`;
}

function describePromptReceived({ text, turns, listToolResults }: PromptContents): string {
  const subject = shortenToSingleLine(text, 100).replace(/[“”"]/g, "'");
  if (listToolResults.length > 0) {
    return listToolResults
      .map(({ tool, text: result, isError }) => {
        const shown = result === '' ? 'nothing.' : quoteAtSentenceEnd(shortenToSingleLine(result, 160));
        return isError ? `${tool} failed with ${shown}` : `${tool} answered ${shown}`;
      })
      .join(' ');
  }
  if (subject === '') return 'Your message has no text that I could react to.';
  if (/^\W*(hi|hello|hey|good (morning|evening|day)|hallo|bonjour|hola)\b/i.test(subject) && subject.length < 40) {
    return `Hello to you too: you wrote ${quoteAtSentenceEnd(subject)}`;
  }
  const verb = /\?\s*$/.test(subject) ? 'asked' : 'wrote';
  return turns > 1
    ? `In turn ${turns} you ${verb} ${quoteAtSentenceEnd(subject)}`
    : `You ${verb} ${quoteAtSentenceEnd(subject)}`;
}

/** Writes that there is a summary, and quotes its sentence that is closest to the question. */
function quoteClosestSummarySentence(summary: string, question: string): string {
  const beginning = `A summary of ${formatCountWithNoun(countWords(summary), 'word')} stands for what was said before`;
  const sentence = findClosestSentence(summary, question);
  return sentence === undefined
    ? `${beginning}.`
    : `${beginning}: ${quoteAtSentenceEnd(shortenToSingleLine(sentence, 300))}`;
}

function listObservations(
  { text, system, images, documents, turns, summary }: PromptContents,
  toolCount: number,
): string[] {
  const seen: string[] = [];
  if (turns > 1) seen.push(`The conversation contains ${turns} messages from you, and all of them were sent.`);
  if (summary !== '') seen.push(quoteClosestSummarySentence(summary, text));
  if (system !== '') seen.push(`There is a system prompt of ${formatCountWithNoun(countWords(system), 'word')}.`);
  if (images.length > 0) seen.push(`I see ${formatCountWithNoun(images.length, 'image')}: ${images.join(', ')}.`);
  if (documents.length > 0)
    seen.push(`With it came ${formatCountWithNoun(documents.length, 'document')}: ${documents.join(', ')}.`);
  if (toolCount > 0) seen.push(`${formatCountWithNoun(toolCount, 'tool')} could have been called.`);
  return seen;
}

/** Yields sentences without end: the facts in a random order, with numbers when they are repeated. */
function* generateFactSentences(random: RandomSource): Generator<string> {
  for (let round = 0; ; round++) {
    const start = Math.floor(random() * FACTS.length);
    for (let index = 0; index < FACTS.length; index++) {
      const fact = FACTS[(start + index * 5) % FACTS.length] ?? '';
      yield round === 0 ? fact : `Again, as note ${round * FACTS.length + index + 1}: ${fact}`;
    }
  }
}

/** Writes complete sentences with about so many words; only very short texts are cut. */
function joinSentencesUpToWordCount(sentences: string[], wanted: number, random: RandomSource): string {
  const source = generateFactSentences(random);
  const written: string[] = [];
  let words = 0;
  while (words < wanted - 5) {
    const sentence = sentences[written.length] ?? String(source.next().value);
    words += countWords(sentence);
    // Begin a new paragraph after five sentences, so that a client's rendering of paragraphs is exercised.
    written.push(written.length > 0 && written.length % 5 === 0 ? `\n\n${sentence}` : sentence);
  }
  const text = written.join(' ').replaceAll(' \n\n', '\n\n');
  return words <= wanted + 15 ? text : `${text.split(' ').slice(0, Math.max(1, wanted)).join(' ')}…`;
}

/**
 * Writes the simulator's text: that it is only a simulator, the question, what it has received, and how to get real answers. It
 * has the length that the text requests, or three to six sentences.
 * @param limit the most tokens that can be used: longer texts are not made.
 */
export function composeAnswerText(
  prompt: PromptContents,
  toolCount: number,
  limit: number,
  random: RandomSource,
): string {
  const identity = 'This is Sluice’s built-in simulator, not Claude';
  const reacting = describePromptReceived(prompt);
  const hasResults = prompt.listToolResults.length > 0;
  const opening = [
    hasResults ? `${identity}, and it has the results.` : `${identity}: no model has read your message.`,
  ];
  opening.push(reacting);
  const seen = listObservations(prompt, toolCount);
  const wanted = parseRequestedLength(prompt.text);
  if (wanted === undefined) return [...opening, ...seen, REAL_ANSWERS_HINT].join(' ');
  const most = Math.min(wanted.countPhrase, limit);
  if (wanted.unit === 'words') {
    if (wanted.countPhrase === 1) return 'Simulated.';
    return joinSentencesUpToWordCount([...opening, REAL_ANSWERS_HINT, ...seen], most, random);
  }
  if (wanted.unit === 'paragraphs') {
    return Array.from({ length: Math.min(most, Math.ceil(limit / 20)) }, (_, index) =>
      joinSentencesUpToWordCount(index === 0 ? [...opening, REAL_ANSWERS_HINT] : [], 60, random),
    ).join('\n\n');
  }
  if (wanted.countPhrase === 1) {
    const subject = shortenToSingleLine(prompt.text, 60);
    return `${identity}, so “${subject}” gets a real answer only once ANTHROPIC_API_KEY is set.`;
  }
  const first = `${identity}; ${reacting.charAt(0).toLowerCase()}${reacting.slice(1)}`;
  const sentences = [first, REAL_ANSWERS_HINT, ...seen];
  const source = generateFactSentences(random);
  while (sentences.length < most) sentences.push(String(source.next().value));
  return sentences.slice(0, wanted.countPhrase).join(' ');
}

export function composeThinkingText(prompt: PromptContents, plan: string, effort: string | undefined): string {
  const subject = shortenToSingleLine(prompt.text, 120);
  const sentences = [
    subject === '' ? 'The message has no text.' : `The user says: “${subject}”.`,
    'I am a simulator, so there is nothing to find out; what I can do is to show what thinking looks like.',
    prompt.system === ''
      ? 'No system prompt tells me how to behave.'
      : 'There is a system prompt, which I only measure.',
    plan,
  ];
  if (effort === 'low') return sentences.slice(0, 2).join(' ');
  if (effort === 'xhigh' || effort === 'max')
    sentences.push('With this much effort a model would now check its work; I have none to check.');
  return sentences.join(' ');
}
