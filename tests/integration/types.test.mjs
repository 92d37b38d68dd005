// taskws.d.ts says what taskws.js is: tsc takes and refuses what it should, and both name the
// same options and members.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const web = (name) => readFileSync(file(`../../examples/web/${name}`), 'utf8');
const words = (text, pattern) => [...text.matchAll(pattern)].map((match) => match[1]).sort();

const tsc = file('../../build/node/node_modules/typescript/bin/tsc');
const flags = '--noEmit --strict --target es2022 --lib es2022,dom --module esnext';
try {
    const more = ['--moduleResolution', 'bundler', '--types', '', file('types.ts')];
    execFileSync(process.execPath, [tsc, ...flags.split(' '), ...more], { encoding: 'utf8' });
} catch (e) {
    assert.fail(e.stdout || e.message);
}
console.log('ok - a page in TypeScript is checked against taskws.d.ts');

const types = web('taskws.d.ts');
const code = web('taskws.js');
const declared = (name) => /{\n([^}]*)}/.exec(types.slice(types.indexOf(`interface ${name}`)))[1];
const taken = /connectTasks\({([^}]*)}\)/.exec(code.slice(code.indexOf('export function')))[1];
const given = code.slice(code.indexOf('return {\n        close'), code.indexOf('function parseEvent'));
const member = /^ {4}(?:readonly )?(\w+)/gm;
assert.deepEqual(words(declared('Options'), member), words(taken, /(\w+)(?: = '')?(?:,| $)/g));
assert.deepEqual(words(declared('Tasks'), member), words(given, /^ {8}(?:get )?(\w+)[:(]/gm));
console.log('ok - they name the same options and members');
console.log('2 passed, 0 failed');
