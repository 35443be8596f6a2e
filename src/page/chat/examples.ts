import { prefixes, refreshPrefixes } from '../edge/account.ts';
import { edge, toolsOfEdge } from '../edge/client.ts';
import { model } from '../edge/models.ts';
import { go } from '../ui/route.ts';
import { begin, send } from './session/conversations.ts';
import { edgeTools, prefix, tools } from './session/options.ts';

interface Example {
  title: string;
  shows: string;
  /** Whether it can be tried at this edge. Default: it can. */
  isThere?(): boolean;
  run(): Promise<void>;
}

const DESCRIPTION = 'A bicycle shop’s handbook, to try caching';

export const EXAMPLES: readonly Example[] = [
  {
    title: 'Stream 200 words',
    shows: 'Reload the page halfway through: the answer carries on.',
    run: () => send('Explain in 200 words what an edge in front of Claude is good for.'),
  },
  {
    title: 'Roll three dice',
    shows: 'Claude calls a tool that runs in this page.',
    run: () => {
      tools.value = true;
      return send('Please roll 3 dice, and say what came up.');
    },
  },
  {
    title: 'Let the edge call tools',
    shows: 'A run: the edge calls a clock and dice, asks Claude again, and shows what each step cost.',
    isThere: () => toolsOfEdge.value.includes('edge_clock'),
    run: () => {
      edgeTools.value = true;
      return send('Ask edge_clock and edge_dice: what time is it in Zurich, and what do 3 dice show?');
    },
  },
  {
    title: 'Ask a handbook twice',
    shows: 'A long prefix, stored once. The second question reads it from the cache for a tenth of the price.',
    run: async () => {
      await refreshPrefixes();
      const name = handbookName();
      await edge().prefixes.put(name, {
        system: handbook(),
        description: DESCRIPTION,
        ...(model.value ? { model: model.value.id } : {}),
      });
      await refreshPrefixes();
      prefix.value = name;
      const session = await begin('Two questions to a handbook', '');
      await session.send('In one sentence: may I bring a bicycle back after ten days?');
      await session.send('In one sentence: and who pays for the parcel?');
    },
  },
  {
    title: 'Classify a message',
    shows: 'You give the labels and get one of them back, with its price.',
    run: async () => go('classify'),
  },
];

/** Makes the handbook of an invented shop, long enough to be cached by every model. */
const THINGS = ['bicycle', 'saddle', 'wheel', 'helmet', 'lock', 'lamp', 'pump', 'trailer', 'pannier', 'child seat'];
const CASES = [
  'arrives damaged',
  'does not fit',
  'was a gift',
  'was bought on sale',
  'is lost on the way',
  'breaks within its warranty',
  'is brought to the shop in person',
  'was ordered twice by mistake',
  'is wanted in another colour',
  'has been ridden in the rain',
];

/** @returns a name for the handbook: never that of something that is stored already, unless this example stored it */
function handbookName(): string {
  const isFree = (name: string) => prefixes.value.every((row) => row.name !== name || row.description === DESCRIPTION);
  let name = 'handbook';
  for (let number = 2; !isFree(name); number += 1) name = `handbook-${number}`;
  return name;
}

/** @returns about seven thousand tokens */
function handbook(): string {
  const articles = THINGS.flatMap((thing, row) =>
    CASES.map((event, column) => {
      const days = 7 + ((row * 7 + column * 3) % 24);
      const payer = (row + column) % 2 === 0 ? 'the shop' : 'the customer';
      return `Article ${row * CASES.length + column + 1}. If a ${thing} ${event}, the customer writes to us within ${days} days and says when it was bought and where. A ${thing} that is complete is replaced, or paid back in the way in which it was paid; the parcel is paid for by ${payer}. Whoever answers looks the order up first, promises nothing that this article does not say, and stays friendly.`;
    }),
  );
  return ['You answer for Lock & Spoke, a bicycle shop, by its handbook and nothing else.', ...articles].join('\n\n');
}
