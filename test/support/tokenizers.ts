/** Public tokenizers, to compare bounds with. The API's own are not public. */
import claude from '@anthropic-ai/tokenizer/claude.json';
import { Tiktoken } from 'js-tiktoken/lite';
import cl100k from 'js-tiktoken/ranks/cl100k_base';
import o200k from 'js-tiktoken/ranks/o200k_base';

const { bpe_ranks, special_tokens, pat_str } = claude;

const TOKENIZERS_BY_NAME = {
  claude: new Tiktoken({ bpe_ranks, special_tokens, pat_str }),
  cl100k: new Tiktoken(cl100k),
  o200k: new Tiktoken(o200k),
};

export const TOKEN_COUNTERS: Readonly<Record<string, (text: string) => number>> = {
  claude: createCounter(TOKENIZERS_BY_NAME.claude),
  cl100k: createCounter(TOKENIZERS_BY_NAME.cl100k),
  o200k: createCounter(TOKENIZERS_BY_NAME.o200k),
};

/** A token, or the fewest of them that are whole characters. */
export interface Piece {
  text: string;
  tokens: number;
}

/** @returns a text as a model that has this tokenizer would write it. */
export function splitIntoPieces(text: string, name: keyof typeof TOKENIZERS_BY_NAME): Piece[] {
  const tokenizer = TOKENIZERS_BY_NAME[name];
  const pieces: Piece[] = [];
  let open: number[] = [];
  for (const token of tokenizer.encode(text, [], [])) {
    open.push(token);
    const decoded = tokenizer.decode(open);
    if (decoded.includes('\ufffd')) continue;
    pieces.push({ text: decoded, tokens: open.length });
    open = [];
  }
  return pieces;
}

function createCounter(tokenizer: Tiktoken): (text: string) => number {
  return (text) => tokenizer.encode(text, [], []).length;
}

/** Texts of the kinds that models write. */
export const TEXTS: Readonly<Record<string, string>> = {
  prose:
    'It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness. The invoice of the 3rd of March was paid twice; please refund one of the payments, and tell us when it will arrive. Nobody had expected that a small bakery in Bern would sell its recipes for seventeen thousand francs, least of all the baker himself, who kept on kneading. ',
  code: `export async function readWhole(response: Response, idleMs: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of response.body ?? []) {
    if (piece.length > 0 && !isDone) pieces.push(piece);
  }
  return pieces.length === 1 ? pieces[0]! : joined(...pieces); // O(n)
}
def fib(n):
    a, b = 0, 1
    while n > 0: a, b, n = b, a + b, n - 1
    return a
`,
  json: '{"type":"object","properties":{"city":{"type":"string","enum":["Bern","Zürich"]},"days":{"type":"integer","minimum":1}},"required":["city"],"items":[{"id":"a81f","price":12.5,"tags":[]},{"id":"c902","price":0.07,"tags":["new","hot"]}],"next":null}',
  table: `| model | in | out | context |
|---|---:|---:|---|
| opus-5-5 | 4.00 | 20.00 | 1,000,000 |
| haiku-5-5 | 0.10 | 0.50 | 1,000,000 |
| x1 | 17 | 1.37 | - |
`,
  digits: '3141592653589793238462643383279502884197 16939937510 5820974944 592307 8164 06 2 8 620 8998 ',
  chinese: '人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。第一条规定了这一点。',
  japanese: 'すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。',
  amharic: 'የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው። ',
  emoji: '😀🎉👩‍👩‍👧‍👦🚀🏳️‍🌈🧑🏽‍💻🇨🇭❤️🔥 ok 👍🏿 ',
  russian: 'Все люди рождаются свободными и равными в своем достоинстве и правах. ',
  arabic: 'يولد جميع الناس أحراراً متساوين في الكرامة والحقوق، وقد وهبوا عقلاً وضميراً. ',
  hindi: 'सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। ',
  armenian: 'Բոլոր մարդիկ ծնվում են ազատ ու հավասար՝ իրենց արժանապատվությամբ ու իրավունքներով։ ',
  syriac: 'ܟܠ ܒܪܢܫܐ ܡܬܝܠܕ ܚܐܪܐ ܘܫܘܝܐ ܒܐܝܩܪܐ ܘܒܙܕܩܐ ',
  hangul: '꿿뚫뷁쀍쎄핳껒뙈뿛쑜 ',
  phonetic: 'ðə ˈnɔːθ wɪnd ənd ðə sʌn wə dɪsˈpjuːtɪŋ ',
  'random words': 'qzxjvkwp mbtrghd xkcdwqz plmvnbt zzqxjkv wqrtpsd ',
  hex: '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
  base64: 'aGVsbG8gd29ybGQsIHRoaXMgaXMgYSBsb25nIGtleSBvZiBub2JvZHkncyBjb25jZXJu/+Zk9Q==',
};
