import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { rankLabelsByText } from '#simulator/text/labels.ts';
import { tryCases } from '#test/support/property-cases.ts';

const descriptions = `Classify the message.
- billing: invoices, charges, refunds and payments
- technical: crashes, errors, something does not work
- sales: prices, offers, new customers
- other: anything else`;
const labels = ['billing', 'technical', 'sales', 'other'];
const best = (text: string, among = labels, described = descriptions): string | undefined =>
  rankLabelsByText(among, { text, descriptions: described })[0];

describe('the selected label', () => {
  test.each([
    ['I was charged twice and want a refund', 'billing'],
    ['The app crashes with an error when I open it', 'technical'],
    ['What does the offer cost for new customers?', 'sales'],
    ['My billing address changed', 'billing'],
    ['Good morning!', 'other'],
  ])('depends on the words that label and description share with the text: %s', (text, label) => {
    expect(best(text)).toBe(label);
  });

  test('depends more on the label than on its description', () => {
    expect(best('a sales error')).toBe('sales');
  });

  test('is found by the words of its snake_case or camelCase name, not by parts of words', () => {
    expect(best('please delete my account', ['create_user', 'deleteAccount'], '')).toBe('deleteAccount');
    expect(best('a fine day', ['bill', 'day'], 'billing: fine')).toBe('day');
  });

  test('comes from a stable ranking that contains every label once', () => {
    tryCases(
      100,
      fc.uniqueArray(fc.string(), { maxLength: 12 }),
      fc.string(),
      fc.string(),
      (among, text, described) => {
        const ranked = rankLabelsByText(among, { text, descriptions: described });
        expect(ranked.toSorted()).toEqual(among.toSorted());
        expect(rankLabelsByText(among, { text, descriptions: described })).toEqual(ranked);
      },
    );
    expect(best('nothing of it', ['b', 'a'], '')).toBe('b');
  });
});
