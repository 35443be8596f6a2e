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

/** @returns about seven thousand tokens */
export function handbook(): string {
  const articles = THINGS.flatMap((thing, row) =>
    CASES.map((event, column) => {
      const days = 7 + ((row * 7 + column * 3) % 24);
      const payer = (row + column) % 2 === 0 ? 'the shop' : 'the customer';
      return `Article ${row * CASES.length + column + 1}. If a ${thing} ${event}, the customer writes to us within ${days} days and says when it was bought and where. A ${thing} that is complete is replaced, or paid back in the way in which it was paid; the parcel is paid for by ${payer}. Whoever answers looks the order up first, promises nothing that this article does not say, and stays friendly.`;
    }),
  );
  return ['You answer for Lock & Spoke, a bicycle shop, by its handbook and nothing else.', ...articles].join('\n\n');
}
