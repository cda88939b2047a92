import tseslint from 'typescript-eslint';

/** Nothing may be imported across these borders; `test/rules/imports.test.ts` holds the same rule as a test. */
const border = (forbidden, why) => ({
  'no-restricted-imports': ['error', { patterns: [{ regex: forbidden, message: why }] }],
});

export default tseslint.config(
  { ignores: ['node_modules/', 'dist/', 'runs/', 'coverage/', 'eslint.config.js', 'cli/veilgan.mjs'] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: true,
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      'no-restricted-properties': [
        'error',
        {
          object: 'Math',
          property: 'random',
          message: 'Privacy code takes a generator as an argument; see shared/random.ts.',
        },
      ],
    },
  },
  {
    files: ['shared/**'],
    rules: border('(^|/)(site-agent|coordinator|bench|test)/', 'shared imports nothing of ours from outside shared.'),
  },
  {
    files: ['site-agent/**'],
    rules: border('(^|/)(coordinator|bench|test)/', 'A site agent never imports the coordinator.'),
  },
  {
    files: ['coordinator/**'],
    rules: border('(^|/)(site-agent|bench|test)/', 'The coordinator never imports a site agent.'),
  },
  {
    files: ['test/**', 'bench/**'],
    rules: { '@typescript-eslint/no-unsafe-assignment': 'off', '@typescript-eslint/no-unsafe-member-access': 'off' },
  },
);
