import unittest

from mapping import Config, Denied, Wrong, user_and_groups

CONFIG = Config.read({"prefix": "k8s-"})


class Groups(unittest.TestCase):
    def test_groups_with_the_prefix_count_without_it(self):
        claims = {"email": "jane@example.com", "groups": ["k8s-dev", "staff"]}
        self.assertEqual(user_and_groups(CONFIG, claims), ("jane@example.com", ["dev"]))

    def test_who_is_in_no_such_group_is_told_what_to_do(self):
        with self.assertRaisesRegex(Denied, "begins with `k8s-`"):
            user_and_groups(CONFIG, {"email": "joe@example.com", "groups": ["staff"]})

    def test_a_misspelled_key_is_refused(self):
        with self.assertRaisesRegex(Wrong, "config.prfix"):
            Config.read({"prfix": "k8s-"})


if __name__ == "__main__":
    unittest.main()
