import { expect, inject } from 'vitest';
import { beginAt } from '../support/calendar.ts';

const { testPath = '' } = expect.getState();
// Wherever the checkout is.
beginAt(inject('calendar'), testPath.slice(testPath.lastIndexOf('/test/')));
