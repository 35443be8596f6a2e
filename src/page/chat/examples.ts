import { prefixes, refreshPrefixList } from '../edge/account.ts';
import { listAvailablePageParts } from '../edge/available-views.ts';
import { edgeToolNames, getClient } from '../edge/client.ts';
import { hasUnrestrictedScope } from '../edge/identity.ts';
import { currentModel } from '../edge/models.ts';
import { navigateToSection } from '../ui/route.ts';
import { createConversationSession, sendInShownConversation } from './session/conversations.ts';
import { chosenPrefix, hasEdgeTools, hasPageTools } from './session/options.ts';

interface ChatExample {
  title: string;
  description: string;
  /** Whether this edge and the scopes of the token allow its requests. Default: the scope `messages` of the chat is enough. */
  isAvailable?(): boolean;
  runExample(): Promise<void>;
}

const HANDBOOK_DESCRIPTION = 'A bicycle shop’s handbook, to try caching';

export const EXAMPLES: readonly ChatExample[] = [
  {
    title: 'Stream 200 words',
    description: 'Reload the page halfway through. The response continues.',
    runExample: () => sendInShownConversation('Explain in 200 words what an edge in front of Claude is good for.'),
  },
  {
    title: 'Roll three dice',
    description: 'Claude calls a tool that runs in this page.',
    runExample: () => {
      hasPageTools.value = true;
      return sendInShownConversation('Please roll 3 dice, and say what came up.');
    },
  },
  {
    title: 'Let Sluice call tools',
    description:
      'In a run, Sluice calls a clock and dice, sends the results to Claude, and shows the cost of each step.',
    isAvailable: () => edgeToolNames.value.includes('edge_clock'),
    runExample: () => {
      hasEdgeTools.value = true;
      return sendInShownConversation(
        'Ask edge_clock and edge_dice: what time is it in Zurich, and what do 3 dice show?',
      );
    },
  },
  {
    title: 'Ask a handbook twice',
    description: 'A long prefix, stored once. The second question reads it from the cache at a tenth of the price.',
    // PUT /prefixes/:name
    isAvailable: () => hasUnrestrictedScope('prefixes'),
    runExample: async () => {
      await refreshPrefixList();
      const name = chooseUnusedHandbookName();
      await getClient().prefixes.put(name, {
        system: createHandbookText(),
        description: HANDBOOK_DESCRIPTION,
        ...(currentModel.value ? { model: currentModel.value.id } : {}),
      });
      await refreshPrefixList();
      chosenPrefix.value = name;
      const session = await createConversationSession('Two questions to a handbook', '');
      await session.sendQuestion('In one sentence: may I bring a bicycle back after ten days?');
      await session.sendQuestion('In one sentence: and who pays for the parcel?');
    },
  },
  {
    title: 'Classify a message',
    description: 'Provide labels. The response contains the one that fits, and its cost.',
    isAvailable: () => listAvailablePageParts().includes('classify'),
    runExample: async () => navigateToSection('classify'),
  },
];

/** Makes the handbook of an invented shop, long enough to be cached by every model. */
const HANDBOOK_ITEMS = [
  'bicycle',
  'saddle',
  'wheel',
  'helmet',
  'lock',
  'lamp',
  'pump',
  'trailer',
  'pannier',
  'child seat',
];
const HANDBOOK_CASES = [
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
function chooseUnusedHandbookName(): string {
  const isFree = (name: string) =>
    prefixes.value.every((row) => row.name !== name || row.description === HANDBOOK_DESCRIPTION);
  let name = 'handbook';
  for (let number = 2; !isFree(name); number += 1) name = `handbook-${number}`;
  return name;
}

/** @returns about seven thousand tokens */
function createHandbookText(): string {
  const articles = HANDBOOK_ITEMS.flatMap((thing, row) =>
    HANDBOOK_CASES.map((event, column) => {
      const days = 7 + ((row * 7 + column * 3) % 24);
      const payer = (row + column) % 2 === 0 ? 'the shop' : 'the customer';
      return `Article ${row * HANDBOOK_CASES.length + column + 1}. If a ${thing} ${event}, the customer writes to us within ${days} days and says when it was bought and where. We replace a complete ${thing}, or refund it to the original payment method; ${payer} pays for shipping. Look up the order first, promise only what this article covers, and stay friendly. Never name a price that is not in the order.`;
    }),
  );
  return ['You answer customers of Lock & Spoke, a bicycle shop. Use only its handbook.', ...articles].join('\n\n');
}
